/** Makes typed values of the values of entries, with a function or with a schema. */
import type { Value } from '../mirror/entry.ts';

/** A schema of zod, valibot, arktype or another library: what they share (Standard Schema, version 1). */
export interface StandardSchema<T = unknown> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => SchemaResult<T> | Promise<SchemaResult<T>>;
  };
}

type SchemaResult<T> =
  | { readonly value: T; readonly issues?: undefined }
  | { readonly issues: readonly { readonly message: string; readonly path?: SchemaPath | undefined }[] };
type SchemaPath = readonly (PropertyKey | { readonly key: PropertyKey })[];

/** Makes a typed value of the value of an entry, or throws. */
export type Decode<T> = (value: Value, key: string) => T;

/** @returns a function that parses a value as JSON and checks it; it throws a TypeError that names what is wrong */
function decodeWith<T>(schema: StandardSchema<T>): Decode<T> {
  return (value) => {
    if (typeof value !== 'string') throw new TypeError('the value is no text');
    const result = schema['~standard'].validate(JSON.parse(value));
    const checked = atOnce(result) as SchemaResult<T>;
    if (checked.issues === undefined) return checked.value;
    throw new TypeError(checked.issues.map(describe).join('; '));
  };
}

function describe({
  message,
  path = [],
}: {
  readonly message: string;
  readonly path?: SchemaPath | undefined;
}): string {
  const names = path.map((each) => String(typeof each === 'object' ? each.key : each));
  return names.length === 0 ? message : `${names.join('.')}: ${message}`;
}

/** @param decode a function, or a schema, which gets the value parsed as JSON */
export function decoderOf<T>(decode: Decode<T> | StandardSchema<T>): Decode<T> {
  // Schemas of arktype are functions too.
  return '~standard' in decode ? decodeWith(decode) : (value, key) => atOnce(decode(value, key));
}

/** @throws TypeError for a promise, also of another library or realm, whose own failure nobody would hear of */
function atOnce<T>(result: T): T {
  if (typeof (result as Partial<PromiseLike<T>> | null)?.then !== 'function') return result;
  Promise.resolve(result).catch(() => undefined);
  throw new TypeError('a schema that takes time cannot decode');
}
