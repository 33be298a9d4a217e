/**
 * Makes the types of the answers that psyncd/client returns from the schemas of the API, as plain interfaces: applications see
 * them in their editors, and the client takes nothing from the server. `--check` compares instead, and fails on any difference.
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { problem } from '../src/http/schemas/common/problems.ts';
import { batchResults } from '../src/http/schemas/keys/batch.ts';
import { difference } from '../src/http/schemas/keys/diff.ts';
import { imported } from '../src/http/schemas/keys/import-export.ts';
import {
  appended,
  deletedMany,
  expiry,
  incremented,
  keyPage,
  written,
} from '../src/http/schemas/keys/keys.ts';
import { config, configPatch } from '../src/http/schemas/node/config.ts';
import { health } from '../src/http/schemas/node/health.ts';
import { createdToken, revokedToken, tokenList, tokenRequest } from '../src/http/schemas/node/tokens.ts';
import { writeHold } from '../src/http/schemas/node/write-hold.ts';
import { backlogReport } from '../src/http/schemas/replication/backlog.ts';
import { check } from '../src/http/schemas/replication/check.ts';
import { digest } from '../src/http/schemas/replication/digest.ts';
import { replication } from '../src/http/schemas/replication/replication.ts';
import { failoverResult } from '../src/http/schemas/replication/role.ts';
import { endedSession, sessions } from '../src/http/schemas/replication/sessions.ts';
import { make } from './made-file.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** The names that applications know them by, by the file where they stand. */
const ANSWERS = {
  'src/client/answers.ts': {
    Written: written,
    Incremented: incremented,
    Appended: appended,
    ExpiryAnswer: expiry,
    KeyPage: keyPage,
    DeletedMany: deletedMany,
    Imported: imported,
    DiffAnswer: difference,
    BatchAnswer: batchResults,
    DigestAnswer: digest,
    ReplicationAnswer: replication,
    CheckAnswer: check,
    FailoverAnswer: failoverResult,
    ProblemAnswer: problem,
  },
  'src/client/admin/answers.ts': {
    SessionsAnswer: sessions,
    EndedSession: endedSession,
    BacklogAnswer: backlogReport,
    ConfigAnswer: config,
    ConfigPatch: configPatch,
    TokensAnswer: tokenList,
    TokenRequest: tokenRequest,
    CreatedToken: createdToken,
    RevokedToken: revokedToken,
    HealthAnswer: health,
    WriteHoldAnswer: writeHold,
  },
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
  readonly additionalProperties?: Schema | boolean;
  readonly items?: Schema;
}

const PLAIN: Readonly<Record<string, string>> = {
  string: 'string',
  integer: 'number',
  number: 'number',
  boolean: 'boolean',
  null: 'null',
};

const HEAD = `/**
 * Answers of the REST API. Made by \`npm run openapi\` from the schemas in src/http/schemas; do not edit.
 *
 * A newer node may send more members, and values that are not named here.
 *
 * Over 350 lines: they are one list, and nobody writes them by hand.
 */

`;

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

function objectOf({ properties, required = [], additionalProperties }: Schema): string {
  if (properties === undefined) {
    const others = typeof additionalProperties === 'object' ? additionalProperties : {};
    return `{ readonly [name: string]: ${typeOf(others)} }`;
  }
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

for (const [path, answers] of Object.entries<Readonly<Record<string, Schema>>>(ANSWERS)) {
  const source = Object.entries(answers).map(
    ([name, schema]) =>
      `/** \`${schema.$id}\` of openapi.yaml. */\nexport interface ${name} ${objectOf(schema)}\n`,
  );
  const biome = ['node_modules/.bin/biome', ['format', `--stdin-file-path=${path}`]] as const;
  const input = HEAD + source.join('\n');
  make(path, execFileSync(...biome, { cwd: ROOT, input, encoding: 'utf8' }));
}
