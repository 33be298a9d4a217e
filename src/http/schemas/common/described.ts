/**
 * The type of what a schema describes, which the compiler derives from the schema, so that the two cannot disagree.
 *
 * It knows the keywords that the schemas of this folder use. Two packages do the same for all of JSON Schema, and fit less well:
 * `typebox` (1.4) loses the null of `type: ['object', 'null']`; `json-schema-to-ts` (3.1, no release since 2024) gives every
 * object members of any other name, and arrays that may be changed.
 */

/**
 * The value that `Schema` describes, deeply readonly. A member with a `default` is always there: the checks of requests fill it
 * in before a handler sees the request.
 */
export type Described<Schema> =
  Schema extends Reference<infer Target>
    ? Described<Target>
    : Schema extends { readonly const: infer Value }
      ? Value
      : Schema extends { readonly enum: readonly (infer Value)[] }
        ? Value
        : Schema extends { readonly oneOf: readonly (infer Case)[] }
          ? Described<Case>
          : Schema extends { readonly type: infer Type }
            ? OfType<Type extends readonly (infer Name)[] ? Name : Type, Schema>
            : unknown;

/** Refers to a schema by its `$id`; only its type knows which one. */
export interface Reference<Schema> {
  readonly $ref: string;
  /** Never there. */
  readonly '~schema'?: Schema;
}

/** @param schema one that openapi.yaml names */
export function referenceTo<Schema extends { readonly $id: string }>({ $id }: Schema): Reference<Schema> {
  return { $ref: `${$id}#` };
}

interface Plain {
  readonly string: string;
  readonly integer: number;
  readonly number: number;
  readonly boolean: boolean;
  readonly null: null;
}

type OfType<Name, Schema> = Name extends keyof Plain
  ? Plain[Name]
  : Name extends 'array'
    ? readonly (Schema extends { readonly items: infer Items } ? Described<Items> : unknown)[]
    : Name extends 'object'
      ? OfObject<Schema>
      : never;

type OfObject<Schema> = Schema extends { readonly properties: infer Members }
  ? Flat<
      { readonly [Name in keyof Members & Present<Schema, Members>]: Described<Members[Name]> } & {
        readonly [Name in Exclude<keyof Members, Present<Schema, Members>>]?: Described<Members[Name]>;
      }
    >
  : Schema extends { readonly additionalProperties: infer Others }
    ? Readonly<Record<string, Described<Others>>>
    : Readonly<Record<string, unknown>>;

/** Names of the members that are always there. */
type Present<Schema, Members> =
  | (Schema extends { readonly required: readonly (infer Name)[] } ? Name : never)
  | {
      [Name in keyof Members]: Members[Name] extends { readonly default: unknown } ? Name : never;
    }[keyof Members];

/** The same type with all members side by side, as editors should show it. */
type Flat<T> = { [Name in keyof T]: T[Name] };
