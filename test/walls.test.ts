/** The house's walls hold: who may import whom is checked by `npm run check`, and this checks the checker. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from './support/cluster.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  replication: ['./position.ts'],
  stream: ['./command.ts', 'node:buffer'],
  keyspace: ['./entry.ts', '../stream/command.ts', 'node:buffer', 'quickselect'],
  node: [
    './ports/world.ts',
    '../replication/decide.ts',
    '../keyspace/entry.ts',
    '../stream/decoder.ts',
    'xxhash-wasm',
  ],
  store: ['better-sqlite3', 'node:fs', '../node/ports/world.ts', '../stream/decoder.ts'],
  http: ['fastify', '@fastify/swagger', '../node/node.ts', '../keyspace/key.ts'],
  ws: ['ws', '../node/ports/world.ts'],
  'keyspace/overlay': ['./overlay.ts', '../entry.ts', '../../stream/command.ts'],
  'node/ports': ['./world.ts', '../turns.ts', '../feed/messages/message.ts', '../../keyspace/entry.ts'],
  'node/head': [
    './pace.ts',
    '../ports/world.ts',
    '../turns.ts',
    '../../replication/decide.ts',
    'xxhash-wasm',
  ],
  'node/head/keyspace': [
    './layers.ts',
    '../stream-head.ts',
    '../../ports/world.ts',
    '../../turns.ts',
    '../../../keyspace/entry.ts',
  ],
  'node/write': ['./draft.ts', '../ports/world.ts', '../head/stream-head.ts'],
  'node/session': ['./sessions.ts', '../hold.ts', '../head/stream-head.ts'],
  'node/link': ['./link.ts', '../link-times.ts', '../head/stream-head.ts'],
  'node/role': [
    '../head/stream-head.ts',
    '../session/session.ts',
    '../link/link.ts',
    '../write/write-turn.ts',
  ],
  'node/feed': ['./followers/follower.ts', '../head/stream-head.ts', '../../keyspace/prefixes.ts'],
  'node/feed/followers': [
    './follower.ts',
    '../messages/frames.ts',
    '../feed-request.ts',
    '../../head/stream-head.ts',
    '../../liveness.ts',
    '../../../keyspace/prefixes.ts',
  ],
  'node/feed/messages': ['./frames.ts', '../../../keyspace/prefixes.ts', '../../../stream/command.ts'],
  'node/upkeep': ['./scrubber.ts', '../head/stream-head.ts'],
  'node/upkeep/diff': ['./diffs.ts', '../../head/stream-head.ts', '../../../stream/command.ts'],
  'http/hooks': ['./hooks.ts', '../problem.ts', '../request/key.ts', '../../access/principal.ts', 'fastify'],
  'http/request': ['./slices.ts', './bodies/body.ts', '../schemas/x.ts', '../../node/problem.ts'],
  'http/request/bodies': ['./body.ts', '../slices.ts', '../../schemas/x.ts', '../../../node/problem.ts'],
  'http/routes': ['../request/bodies/body.ts', '../schemas/x.ts', '../problem.ts', 'fastify'],
  'http/routes/keys': [
    './key-write.ts',
    '../acks.ts',
    '../../request/body.ts',
    '../../problem.ts',
    'fastify',
  ],
  'http/schemas': ['./x.ts', '../../web/query.ts'],
  'http/schemas/keys': ['../common/members.ts', './keys.ts', '../../../web/feed-query.ts'],
  'http/schemas/common': ['./members.ts', '../../../node/problem.ts'],
  access: ['./right.ts', '../node/problem.ts', '../keyspace/key.ts', '../runtime/small-file.ts', 'node:fs'],
  tls: [
    './pem.ts',
    '../node/ports/world.ts',
    '../access/buckets.ts',
    '../access/address.ts',
    '../settings/table.ts',
    'node:tls',
  ],
  target: ['./names.ts', '../node/ports/backup-target.ts', 'node:fs/promises'],
  'target/s3': ['./client.ts', '../names.ts', '../../node/ports/backup-target.ts', 'aws4fetch', 'undici'],
  archive: [
    './segment.ts',
    '../node/ports/backup-target.ts',
    '../node/turns.ts',
    '../replication/history.ts',
    'node:zlib',
  ],
  metrics: [
    './metric.ts',
    './list/node.ts',
    '../node/numbers.ts',
    '../node/ports/counts.ts',
    '../web/record/request-counts.ts',
    '@prometheus-io/client',
    'node:fs/promises',
  ],
  'metrics/list': ['./node.ts', '../metric.ts', '../../node/numbers.ts'],
  'access/tokens': ['./token-list.ts', '../right.ts', '../../keyspace/key.ts', '../../runtime/small-file.ts'],
  'access/jwt': [
    './claims.ts',
    '../principal.ts',
    '../tokens/token-list.ts',
    '../../keyspace/json/json.ts',
    '../../node/ports/world.ts',
    'jose',
    'node:crypto',
  ],
  web: [
    './query.ts',
    '../access/access.ts',
    '../node/problem.ts',
    '../node/feed/feed-request.ts',
    '../replication/position.ts',
  ],
  'web/record': ['./traceparent.ts', '../../node/ports/counts.ts', 'node:http'],
  client: ['./rest.ts', './mirror/mirror.ts'],
  'client/mirror': ['./copy.ts', '../rest.ts'],
  'client/react': ['./use-entry.ts', '../mirror/entry.ts', '../collection/sorted-entries.ts', 'react'],
  'client/collection': ['./source.ts', '../report.ts', '../mirror/entry.ts'],
  'client/optimistic': ['./writes.ts', '../rest.ts', '../mirror/entry.ts', '../collection/source.ts'],
  'client/request': ['./exchange.ts', '../token.ts'],
  'client/full': ['./requester.ts', '../rest.ts', '../request/exchange.ts', '../mirror/entry.ts'],
  'client/admin': ['./answers.ts', '../api-error.ts', '../full/client.ts', '../request/exchange.ts'],
  'client-node': ['./transport.ts', '../client/request/token.ts', 'undici', 'node:tls'],
  cli: ['commander', 'node:fs', '../app.ts', '../client/rest.ts', '../settings/load.ts'],
  'cli/commands': ['commander', '../options/node.ts', '../../settings/load.ts'],
};
const FORBIDDEN: Readonly<Record<string, readonly string[]>> = {
  replication: [
    'node:fs',
    'node:crypto',
    'ws',
    'xxhash-wasm',
    '../stream/command.ts',
    '../node/ports/world.ts',
  ],
  stream: ['node:fs', '../replication/position.ts', 'fastify'],
  keyspace: ['node:fs', '../replication/position.ts', '../node/ports/world.ts', 'better-sqlite3'],
  node: [
    'node:fs',
    'node:os',
    'ws',
    'fastify',
    'better-sqlite3',
    '../store/migrate.ts',
    '../http/x.ts',
    '../app.ts',
  ],
  store: ['ws', 'fastify', '../http/x.ts', '../ws/x.ts', '../app.ts', '../cli/x.ts'],
  http: ['ws', 'better-sqlite3', '../store/x.ts', '../ws/x.ts', '../app.ts'],
  ws: ['fastify', 'better-sqlite3', '../store/x.ts', '../http/x.ts', '../app.ts'],
  'keyspace/overlay': ['../../node/ports/world.ts', 'better-sqlite3'],
  'node/ports': ['../head/stream-head.ts', '../node.ts', 'node:fs', 'xxhash-wasm'],
  'node/head': [
    '../write/x.ts',
    '../session/x.ts',
    '../link/x.ts',
    '../role/x.ts',
    '../feed/x.ts',
    '../node.ts',
  ],
  'node/head/keyspace': [
    '../../write/x.ts',
    '../../session/x.ts',
    '../../feed/x.ts',
    '../../node.ts',
    'node:fs',
  ],
  'node/write': ['../session/x.ts', '../link/x.ts', '../role/x.ts', '../feed/x.ts', 'node:fs'],
  'node/session': ['../write/x.ts', '../link/x.ts', '../role/x.ts', '../feed/x.ts', '../node.ts'],
  'node/link': ['../session/x.ts', '../role/x.ts', '../write/x.ts', '../feed/x.ts', '../../web/query.ts'],
  'node/role': ['../feed/x.ts', '../upkeep/x.ts', '../node.ts', '../../store/x.ts'],
  'node/feed/followers': ['../feed.ts', '../rounds.ts', '../../session/x.ts', '../../../web/feed-query.ts'],
  'node/feed/messages': [
    '../followers/follower.ts',
    '../feed.ts',
    '../../head/stream-head.ts',
    '../../ports/world.ts',
    '../../problem.ts',
    'node:fs',
  ],
  'node/feed': ['../session/x.ts', '../write/x.ts', '../role/x.ts', '../../web/feed-query.ts'],
  'node/upkeep': ['../session/x.ts', '../feed/x.ts', '../role/x.ts'],
  'node/upkeep/diff': ['../../session/x.ts', '../../feed/x.ts', '../scrubber.ts'],
  'http/hooks': ['../server.ts', '../front.ts', '../routes/x.ts', '../fast-path/x.ts', '../../store/x.ts'],
  'http/request': ['../routes/x.ts', '../server.ts', '../fast-path/x.ts', '../../store/x.ts'],
  'http/request/bodies': [
    '../../routes/x.ts',
    '../../server.ts',
    '../../fast-path/x.ts',
    '../../../store/x.ts',
  ],
  'http/routes': ['../server.ts', '../front.ts', '../fast-path/x.ts', '../../ws/x.ts'],
  'http/routes/keys': ['../../server.ts', '../../front.ts', '../../fast-path/x.ts', '../../../store/x.ts'],
  'http/schemas/keys': ['../../routes/x.ts', '../../request/x.ts', '../../server.ts', '../../../store/x.ts'],
  'http/schemas/common': ['../shared.ts', '../keys/keys.ts', '../node/x.ts', '../replication/x.ts'],
  'http/schemas': ['../routes/x.ts', '../request/x.ts', '../server.ts', '../../store/x.ts'],
  tls: ['../http/x.ts', '../ws/x.ts', '../access/access.ts', '../settings/load.ts', 'ws', 'fastify'],
  target: [
    'undici',
    'better-sqlite3',
    '../node/node.ts',
    '../store/sync-folder.ts',
    '../cli/x.ts',
    '../app.ts',
  ],
  'target/s3': ['fastify', '../open-target.ts', '../../node/node.ts', '../../store/x.ts', '../../app.ts'],
  archive: [
    'better-sqlite3',
    '../target/folder-target.ts',
    '../store/x.ts',
    '../stream/decoder.ts',
    '../node/node.ts',
    '../node/head/stream-head.ts',
    '../app.ts',
  ],
  metrics: [
    'fastify',
    'ws',
    '../node/node.ts',
    '../http/x.ts',
    '../store/x.ts',
    '../access/access.ts',
    '../app.ts',
  ],
  'metrics/list': ['@prometheus-io/client', '../../node/node.ts', '../../store/x.ts', '../../http/x.ts'],
  access: ['jose', '../http/x.ts', '../ws/x.ts', '../node/node.ts', '../app.ts'],
  'access/tokens': ['jose', '../jwt/jwts.ts', '../../http/x.ts', '../../node/node.ts', '../../app.ts'],
  'access/jwt': [
    '../tokens/token-watch.ts',
    '../../keyspace/key.ts',
    '../../http/x.ts',
    '../../node/node.ts',
    '../../settings/table.ts',
  ],
  web: ['../node/node.ts', '../http/x.ts', '../ws/x.ts', 'fastify'],
  'web/record': ['../access-log.ts', '../../access/access.ts', '../../node/node.ts', 'fastify'],
  client: ['node:fs', 'ws', 'react', './react/use-entry.ts', '../node/ports/world.ts'],
  'client-node': ['ws', '../tls/pem.ts', '../node/ports/world.ts', '../access/access.ts'],
  'client/collection': ['node:fs', 'ws', '../optimistic/index.ts', '../../app.ts', '../node/node.ts'],
  'client/optimistic': ['node:fs', 'ws', '../../node/ports/world.ts', '../../app.ts', '../node/node.ts'],
  'client/request': ['node:fs', 'ws', '../mirror/mirror.ts', '../../node/ports/world.ts', '../../app.ts'],
  'client/full': ['node:fs', 'ws', '../../node/ports/world.ts', '../../app.ts'],
  'client/admin': ['node:fs', 'ws', '../../node/ports/world.ts', '../../app.ts'],
  'client/mirror': ['node:fs', 'ws', '../../node/ports/world.ts', '../../app.ts', '../node/node.ts'],
  'client/react': ['react-dom', 'node:fs', '../rest.ts', '../follow.ts', '../../app.ts'],
  cli: ['fastify', 'ws', 'better-sqlite3', '../http/x.ts', '../ws/x.ts'],
  'cli/commands': ['fastify', 'ws', 'better-sqlite3', '../../http/x.ts', '../../ws/x.ts'],
};

interface Diagnostic {
  readonly category: string;
  readonly location: { readonly path: string };
}

/** The folders whose file `import '<specifier>'` breaks the import rule, one file per pair. */
async function refused(
  folder: string,
  rules: Readonly<Record<string, readonly string[]>>,
): Promise<string[]> {
  await cp(join(ROOT, 'biome.json'), join(folder, 'biome.json'));
  await cp(join(ROOT, 'package.json'), join(folder, 'package.json'));
  await cp(join(ROOT, '.gitignore'), join(folder, '.gitignore'));
  const names = new Map<string, string>();
  for (const [room, specifiers] of Object.entries(rules)) {
    await mkdir(join(folder, 'src', room), { recursive: true });
    for (const [index, specifier] of specifiers.entries()) {
      const path = `src/${room}/import-${index}.ts`;
      names.set(path, `${room} imports ${specifier}`);
      await writeFile(join(folder, path), `import '${specifier}';\n`);
    }
  }
  const biome = join(ROOT, 'node_modules', '.bin', 'biome');
  const only = ['lint', '--only=style/noRestrictedImports', '--reporter=json', '--max-diagnostics=none', '.'];
  const stdout = await new Promise<string>((resolve) => {
    execFile(biome, only, { cwd: folder }, (_error, text) => resolve(text));
  });
  const { diagnostics } = JSON.parse(stdout) as { diagnostics: Diagnostic[] };
  return diagnostics
    .filter(({ category }) => category === 'lint/style/noRestrictedImports')
    .map(({ location: { path } }) => names.get(path) ?? path)
    .sort();
}

function pairs(rules: Readonly<Record<string, readonly string[]>>): string[] {
  return Object.entries(rules)
    .flatMap(([room, specifiers]) => specifiers.map((specifier) => `${room} imports ${specifier}`))
    .sort();
}

test('imports across a wall are refused', async (t) => {
  assert.deepEqual(await refused(await temporaryFolder(t), FORBIDDEN), pairs(FORBIDDEN));
});

test('imports that follow the rules are accepted', async (t) => {
  assert.deepEqual(await refused(await temporaryFolder(t), ALLOWED), []);
});
