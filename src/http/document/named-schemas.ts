/**
 * Gives names to schemas that the routes write out: generated clients make a type of each named schema, and none that can be
 * named of the others. What has forms (`oneOf`) gets a name for each form, and says which member tells them apart.
 */
import { PROBLEMS } from '../../node/problem.ts';
import { FULL_RESYNC_REASONS } from '../../replication/decide.ts';
import { POSITION_PATTERN } from '../schemas/common/patterns.ts';

export interface DocumentSchema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly enum?: readonly unknown[];
  readonly pattern?: string;
  readonly properties?: Readonly<Record<string, DocumentSchema>>;
  readonly items?: DocumentSchema;
  readonly maxItems?: number;
  readonly oneOf?: readonly DocumentSchema[];
}

type Schemas = Readonly<Record<string, DocumentSchema>>;

/** Forms of one thing: the member that tells them apart, and how the name of a form ends. */
const FORMS: Readonly<Record<string, { readonly by: string; readonly ending: string }>> = {
  Change: { by: 'type', ending: 'Change' },
  ChangeEvent: { by: 'type', ending: 'Event' },
  BatchOperation: { by: 'op', ending: 'Operation' },
};

/** Elements of arrays that get a name: the schema, its member, the name. */
const ELEMENTS = [
  ['KeyPage', 'keys', 'Entry'],
  ['BatchResults', 'results', 'OperationResult'],
  // The named one says what each operation takes; the check of requests leaves that to the route, which names the operation.
  ['Batch', 'ops', 'BatchOperation'],
] as const;

/** Named by what they say, wherever they stand. */
const SCALARS: Readonly<Record<string, DocumentSchema>> = {
  ProblemCode: { type: 'string', enum: Object.keys(PROBLEMS), description: 'Stable code, for programs.' },
  ResyncReason: { type: 'string', enum: FULL_RESYNC_REASONS, description: 'Reason of a full resync.' },
  Position: {
    type: 'string',
    pattern: POSITION_PATTERN,
    description: 'A position in the stream: `<run ID>:<offset>`.',
  },
};

/** @returns the same schemas with references to named ones, and these */
export function nameSchemas(schemas: Schemas): Schemas {
  const named: Record<string, DocumentSchema> = {};
  for (const [name, schema] of Object.entries(schemas)) named[name] = schema;
  for (const [name, member, element] of ELEMENTS) nameElement(named, name, member, element);
  for (const [name, { by, ending }] of Object.entries(FORMS)) nameForms(named, name, by, ending);
  return { ...SCALARS, ...(withScalars(named) as Schemas) };
}

function nameElement(named: Record<string, DocumentSchema>, name: string, member: string, as: string): void {
  const schema = named[name];
  const list = schema?.properties?.[member];
  if (list?.items === undefined) throw new Error(`${name} has no list ${member}`);
  named[as] ??= list.items;
  named[name] = {
    ...schema,
    properties: { ...schema?.properties, [member]: bounded(list, referenceTo(as)) },
  };
}

/** @returns the list, which says in words how long it may be: a generator writes a type of 10,000 members for `maxItems: 10000` */
function bounded({ maxItems, ...list }: DocumentSchema, items: DocumentSchema): DocumentSchema {
  if (maxItems === undefined) return { ...list, items };
  return { ...list, description: `At most ${maxItems.toLocaleString('en')}.`, items };
}

function nameForms(named: Record<string, DocumentSchema>, name: string, by: string, ending: string): void {
  const { oneOf, ...rest } = named[name] ?? {};
  if (oneOf === undefined) throw new Error(`${name} has no forms`);
  const mapping: Record<string, string> = {};
  for (const form of oneOf) {
    const value = String(form.properties?.[by]?.enum?.[0]);
    const own = `${value.slice(0, 1).toUpperCase()}${value.slice(1)}${ending}`;
    named[own] = form;
    mapping[value] = referenceTo(own).$ref;
  }
  const discriminated = { discriminator: { propertyName: by, mapping } };
  named[name] = { ...rest, oneOf: Object.values(mapping).map(($ref) => ({ $ref })), ...discriminated };
}

/** @returns the same with references in place of the scalars that have a name */
function withScalars(at: unknown): unknown {
  if (typeof at !== 'object' || at === null) return at;
  if (Array.isArray(at)) return at.map(withScalars);
  const schema = at as DocumentSchema;
  const name = scalarOf(schema);
  if (name === null) {
    return Object.fromEntries(
      // Examples are values, which may look like schemas.
      Object.entries(at).map(([key, value]) => [key, key === 'examples' ? value : withScalars(value)]),
    );
  }
  const { description } = schema;
  const own = description === undefined || description === SCALARS[name]?.description ? {} : { description };
  // Few generators read `null` in an `enum` beside other values.
  if (schema.enum?.includes(null)) return { oneOf: [referenceTo(name), { type: 'null' }], ...own };
  return { ...referenceTo(name), ...own };
}

function scalarOf({ pattern, enum: values, type }: DocumentSchema): string | null {
  if (type === 'string' && pattern !== undefined && pattern === SCALARS.Position?.pattern) return 'Position';
  if (values === undefined) return null;
  const text = String(values.filter((value) => value !== null));
  for (const name of ['ProblemCode', 'ResyncReason']) if (String(SCALARS[name]?.enum) === text) return name;
  return null;
}

function referenceTo(name: string): { readonly $ref: string } {
  return { $ref: `#/components/schemas/${name}` };
}
