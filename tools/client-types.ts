/**
 * Makes the types of the answers that psyncd/client returns from the schemas of the API, as plain interfaces: applications see
 * them in their editors, and the client takes nothing from the server. `--check` compares instead, and fails on any difference.
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { batchResults } from '../src/http/schemas/keys/batch.ts';
import { imported } from '../src/http/schemas/keys/import-export.ts';
import { appended, incremented, written } from '../src/http/schemas/keys/keys.ts';
import { check } from '../src/http/schemas/replication/check.ts';
import { digest } from '../src/http/schemas/replication/digest.ts';
import { replication } from '../src/http/schemas/replication/replication.ts';
import { failoverResult } from '../src/http/schemas/replication/role.ts';
import { make } from './made-file.ts';

const PATH = 'src/client/answers.ts';
const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** The names that applications know them by. */
const ANSWERS = {
  Written: written,
  Incremented: incremented,
  Appended: appended,
  Imported: imported,
  BatchAnswer: batchResults,
  DigestAnswer: digest,
  ReplicationAnswer: replication,
  CheckAnswer: check,
  FailoverAnswer: failoverResult,
} as const;

/** The keywords that say what an answer looks like. */
interface Schema {
  readonly $id?: string;
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: Schema;
  readonly items?: Schema;
}

const PLAIN: Readonly<Record<string, string>> = {
  string: 'string',
  integer: 'number',
  number: 'number',
  boolean: 'boolean',
  null: 'null',
};

function typeOf(schema: Schema): string {
  if ('const' in schema) return literal(schema.const);
  if (schema.enum !== undefined) return schema.enum.map(literal).join(' | ');
  return [schema.type ?? []]
    .flat()
    .map((type) => {
      if (type === 'array') return `readonly (${typeOf(schema.items ?? {})})[]`;
      return type === 'object' ? objectOf(schema) : PLAIN[type];
    })
    .join(' | ');
}

function objectOf({ properties, required = [], additionalProperties = {} }: Schema): string {
  if (properties === undefined) return `{ readonly [name: string]: ${typeOf(additionalProperties)} }`;
  const members = Object.entries(properties).map(([name, member]) => {
    const mark = required.includes(name) ? '' : '?';
    return `${comment(member.description)}readonly ${name}${mark}: ${typeOf(member)};\n`;
  });
  return `{\n${members.join('')}}`;
}

function literal(value: unknown): string {
  return typeof value === 'string' ? `'${value}'` : String(value);
}

/** @returns a comment of lines that are no longer than others in the source */
function comment(text: string | undefined): string {
  if (text === undefined) return '';
  const lines = text.match(/.{1,90}(?: |$)/g) ?? [text];
  if (lines.length === 1) return `/** ${text} */\n`;
  return `/**\n${lines.map((line) => ` * ${line.trimEnd()}\n`).join('')} */\n`;
}

const source = Object.entries<Schema>(ANSWERS)
  .map(
    ([name, schema]) =>
      `/** \`${schema.$id}\` of openapi.yaml. */\nexport interface ${name} ${objectOf(schema)}\n`,
  )
  .join('\n');
const head = `/**
 * Answers of the REST API. Made by \`npm run openapi\` from the schemas in src/http/schemas; do not edit.
 *
 * A newer node may send more members, and values that are not named here.
 *
 * Over 350 lines: they are one list, and nobody writes them by hand.
 */

`;
const biome = ['node_modules/.bin/biome', ['format', `--stdin-file-path=${PATH}`]] as const;
make(PATH, execFileSync(...biome, { cwd: ROOT, input: head + source, encoding: 'utf8' }));
