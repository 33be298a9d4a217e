import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { program } from '../src/cli/program.ts';
import { config, configPatch } from '../src/http/schemas/node/config.ts';
import { loadSettings } from '../src/settings/load.ts';
import {
  formatBacklogSize,
  formatJournalKeep,
  parseSize,
  parseTime,
  UsageError,
} from '../src/settings/parse.ts';
import { flagOf, variableOf } from '../src/settings/setting.ts';
import { SETTINGS, shown } from '../src/settings/table.ts';

const folder = mkdtempSync(join(tmpdir(), 'psyncd-config-'));
after(() => rmSync(folder, { recursive: true }));

let files = 0;

function fileOf(content: unknown): string {
  files += 1;
  const path = join(folder, `${files}.json`);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

/** The message of the UsageError: one line. */
function refusal(load: () => unknown): string {
  try {
    load();
  } catch (error) {
    assert.ok(error instanceof UsageError, String(error));
    assert.doesNotMatch(error.message, /\n/);
    return error.message;
  }
  return assert.fail('nothing was refused');
}

for (const [parse, text, expected] of [
  [parseSize, '0', 0],
  [parseSize, '100', 100],
  [parseSize, '100b', 100],
  [parseSize, '16kb', 16_384],
  [parseSize, '1mb', 1_048_576],
  [parseSize, '1.5 MB', 1_572_864],
  [parseSize, ' 2Gb ', 2_147_483_648],
  [parseTime, '0', 0],
  [parseTime, '250', 250],
  [parseTime, '500ms', 500],
  [parseTime, '10s', 10_000],
  [parseTime, '0.5s', 500],
  [parseTime, '2m', 120_000],
  [parseTime, '1H', 3_600_000],
  [parseTime, '1d', 86_400_000],
] as const) {
  test(`${parse.name} reads ${JSON.stringify(text)} as ${expected}`, () => {
    assert.equal(parse(text), expected);
  });
}

for (const [parse, texts] of [
  [
    parseSize,
    [
      '',
      'mb',
      '-1',
      '+1',
      '1e6',
      '0x10',
      '1tb',
      '1s',
      '1,5mb',
      '.5mb',
      '1.mb',
      '1 000',
      '999999999999999gb',
      '1constructor',
    ],
  ],
  [parseTime, ['', 's', '-1s', '1e3', '1w', '1kb', '1m30s', 'forever', '999999999999999h']],
] as const) {
  for (const text of texts) {
    test(`${parse.name} refuses ${JSON.stringify(text)}`, () => {
      assert.match(
        refusal(() => parse(text)),
        /^expected a (size|time) such as /,
      );
    });
  }
}

test('without anything given every setting has its default', () => {
  assert.deepEqual(loadSettings({}, {}, null), {
    port: 7796,
    host: '127.0.0.1',
    data: './psyncd-data',
    replicaOf: null,
    announceUrl: null,
    backlogSize: 1_048_576,
    backlogFloor: 1_048_576,
    backlogCeiling: 268_435_456,
    journalKeep: { bytes: 0, ms: null },
    fsync: 'everysec',
    overlaySize: 67_108_864,
    applyInterval: 2_000,
    replTimeout: 60_000,
    replPingInterval: 10_000,
    replicaOutputLimit: 268_435_456,
    replicaOutputSoftLimit: 67_108_864,
    replicaOutputSoftTime: 60_000,
    maxReplicas: 256,
    maxFollowers: 10_000,
    followerOutputLimit: 67_108_864,
    minReplicasToWrite: 0,
    minReplicasMaxLag: 10_000,
    allowEmptyMaster: false,
    keepReplaced: 3,
    onDamage: 'stop',
    maxConnections: 16_000,
    allowOrigin: [],
    allowHost: [],
    snapshotKeep: 1_800_000,
    snapshotBudget: 17_179_869_184,
    scrubInterval: 86_400_000,
    verifyInterval: 86_400_000,
    bodyTimeout: 30_000,
    requestMemory: 268_435_456,
    maxWaiting: 10_000,
    shutdownTimeout: 10_000,
    tokensFile: null,
    anonymousRights: [],
    backupTo: null,
    backupEvery: 3_600_000,
    backupKeep: null,
    backupRole: 'any',
    archiveTo: null,
    archiveJournalLimit: 4 * 1024 ** 3,
    archiveCompress: false,
    authFailures: 10,
    rateLimit: 0,
    adminListen: null,
    accessLog: null,
    maxConnectionsPerToken: 0,
    maxFollowersPerToken: 0,
    jwtJwks: null,
    jwtKeyFile: null,
    jwtAudience: null,
    jwtIssuer: null,
    jwtMaxAge: 86_400_000,
    upstreamTokenFile: null,
    trustProxy: [],
    publicUrl: null,
    upstreamCa: null,
    upstreamCaOnly: false,
    upstreamCert: null,
    upstreamKey: null,
    tlsCert: null,
    tlsKey: null,
    tlsClientCa: null,
    tlsClientAuth: 'no',
    tlsMinVersion: '1.2',
    tlsReloadInterval: 60_000,
    logLevel: 'info',
    metricsListen: null,
    cluster: null,
    allowAnonymous: false,
  });
});

test('a flag beats the environment, which beats the file, which beats the default', () => {
  const file = fileOf({ port: 3, backlogSize: '3mb', fsync: 'no', allowAnonymous: true, host: '10.0.0.1' });
  const environment = { PSYNCD_PORT: '2', PSYNCD_BACKLOG_SIZE: '2mb', PSYNCD_HOST: '127.0.0.1', PORT: '9' };
  const { port, backlogSize, fsync, allowAnonymous, host, maxReplicas } = loadSettings(
    { port: '1' },
    environment,
    file,
  );
  assert.deepEqual(
    { port, backlogSize, fsync, allowAnonymous, host, maxReplicas },
    {
      port: 1,
      backlogSize: 2_097_152,
      fsync: 'no',
      allowAnonymous: true,
      host: '127.0.0.1',
      maxReplicas: 256,
    },
  );
});

test('the backlog size may be given as the time that replicas may be away', () => {
  const { backlogSize } = loadSettings({ backlogSize: 'auto:2m' }, {}, null);
  for (const [text, kept, shown] of [
    ['0', { bytes: 0, ms: null }, 0],
    ['4kb', { bytes: 4_096, ms: null }, 4_096],
    ['2h', { bytes: 17_179_869_184, ms: 7_200_000 }, '7200s,17179869184'],
    ['1d,4kb', { bytes: 4_096, ms: 86_400_000 }, '86400s,4096'],
    [' 1500ms , 4kb', { bytes: 4_096, ms: 1_500 }, '1500ms,4096'],
  ] as const) {
    const { journalKeep } = loadSettings({ journalKeep: text }, {}, null);
    assert.deepEqual(journalKeep, kept);
    assert.equal(formatJournalKeep(journalKeep), shown);
    assert.deepEqual(loadSettings({ journalKeep: String(shown) }, {}, null).journalKeep, kept);
  }
  assert.deepEqual(backlogSize, { awayMs: 120_000 });
  assert.equal(formatBacklogSize(backlogSize), 'auto:120s');
});

test('the rules for backups are ages with periods', () => {
  const hour = 3_600_000;
  for (const [text, kept, spelled] of [
    ['24h=1h', [{ ageMs: 24 * hour, everyMs: hour }], '1d=1h'],
    [
      ' 90m=10s , 30d = 1d ',
      [
        { ageMs: 1.5 * hour, everyMs: 10_000 },
        { ageMs: 720 * hour, everyMs: 24 * hour },
      ],
      '5400s=10s,30d=1d',
    ],
  ] as const) {
    const settings = loadSettings({ backupTo: 'x', backupKeep: text }, {}, null);
    assert.deepEqual(settings.backupKeep, kept);
    assert.equal(shown(settings).backupKeep, spelled);
  }
});

test('every setting has one name in three spellings', () => {
  assert.equal(flagOf('replPingInterval'), '--repl-ping-interval');
  assert.equal(variableOf('replPingInterval'), 'PSYNCD_REPL_PING_INTERVAL');
  assert.equal(new Set(SETTINGS.map(({ name }) => flagOf(name))).size, SETTINGS.length);
});

for (const [flags, environment, content, expected] of [
  [{ port: '70000' }, {}, {}, '--port: allowed are 0 to 65535, got "70000"'],
  [{}, { PSYNCD_PORT: 'x' }, {}, 'PSYNCD_PORT: expected a whole number, got "x"'],
  [{}, {}, { port: 80.5 }, '"port" in FILE: expected a whole number, got "80.5"'],
  [
    {},
    {},
    { backlogSize: '15kb' },
    '"backlogSize" in FILE: allowed are 16kb to 4gb; or auto:TIME, as in auto:120s, got "15kb"',
  ],
  [
    { backlogSize: '5gb' },
    {},
    {},
    '--backlog-size: allowed are 16kb to 4gb; or auto:TIME, as in auto:120s, got "5gb"',
  ],
  [
    { backlogSize: 'auto:1x' },
    {},
    {},
    '--backlog-size: expected a time such as 500ms, 10s, 2h or 1d, got "auto:1x"',
  ],
  [
    { backlogSize: 'auto' },
    {},
    {},
    '--backlog-size: expected a size such as 512kb, 1mb or 2gb; or auto:TIME, as in auto:120s, got "auto"',
  ],
  ...(['1x', 'h', '', '2h,', '4gb,2h', '2h,4gb,1'] as const).map(
    (text) =>
      [
        { journalKeep: text },
        {},
        {},
        `--journal-keep: expected a time such as 2h, a size such as 4gb, or both as 2h,4gb, got "${text}"`,
      ] as const,
  ),
  [
    { journalKeep: '2h,0' },
    {},
    {},
    '--journal-keep: a time with a size of 0 keeps nothing; use 0, got "2h,0"',
  ],
  [{ backupKeep: '24h=1h' }, {}, {}, '--backup-keep needs --backup-to'],
  [
    { backupTo: 'x', backupKeep: '1h=24h' },
    {},
    {},
    '--backup-keep: expected AGE=PERIOD such as 24h=1h,30d=1d, with periods of 1s to their age, got "1h=24h"',
  ],
  [{ backupEvery: '999ms' }, {}, {}, '--backup-every: allowed are 1s to 8760h, got "999ms"'],
  [
    { archiveTo: 'x', archiveJournalLimit: '1kb' },
    {},
    {},
    '--archive-journal-limit: allowed are 1mb to 1048576gb, got "1kb"',
  ],
  [{ archiveCompress: 'true' }, {}, {}, '--archive-compress needs --archive-to'],
  [{ backupRole: 'both' }, {}, {}, '--backup-role: expected one of any, replica, master, got "both"'],
  [{ journalKeep: '200h' }, {}, {}, '--journal-keep: allowed are 1s to 168h, got "200h"'],
  [
    { replTimeout: '1s' },
    { PSYNCD_FSYNC: 'often' },
    {},
    'PSYNCD_FSYNC: expected one of always, everysec, no, got "often"',
  ],
  [{}, {}, { allowAnonymous: 'yes' }, '"allowAnonymous" in FILE: expected one of true, false, got "yes"'],
  [{ data: '' }, {}, {}, '--data: it is empty, got ""'],
  [
    { allowHost: 'db.example,http://db' },
    {},
    {},
    '--allow-host: expected names such as db.example, without a port, got "db.example,http://db"',
  ],
  [
    {},
    { PSYNCD_ALLOW_HOST: 'db:7796' },
    {},
    'PSYNCD_ALLOW_HOST: expected names such as db.example, without a port, got "db:7796"',
  ],
  [
    { replicaOf: 'http://m:1' },
    {},
    {},
    '--replica-of: expected a URL of the form ws://HOST:PORT, or no-one, got "http://m:1"',
  ],
  [{}, {}, { colour: 'red' }, '--config FILE: there is no setting "colour"'],
  [{}, {}, '{"__proto__": "x"}', '--config FILE: there is no setting "__proto__"'],
  [{ port: '1' }, {}, { port: null }, '--config FILE: "port" is no string, number or boolean'],
  [{}, {}, { port: [1] }, '--config FILE: "port" is no string, number or boolean'],
  [
    {},
    {},
    { allowHost: ['a', 1] },
    '--config FILE: "allowHost" is no string, number or boolean, nor an array of strings',
  ],
  [
    {},
    {},
    { allowHost: ['a', ['b']] },
    '--config FILE: "allowHost" is no string, number or boolean, nor an array of strings',
  ],
  [
    {},
    {},
    '{"port": 99999999999999999999}',
    '"port" in FILE: expected a whole number, got "99999999999999999999"',
  ],
  [
    {},
    {},
    '{"port": 1, "port": 2}',
    '--config FILE: it is not JSON: a member named "port" stands twice (at byte 11)',
  ],
  [
    {},
    {},
    '{"port": 0x10}',
    '--config FILE: it is not JSON: a comma or a bracket was expected, not "x" (at byte 10)',
  ],
  [{ port: '0x10' }, {}, {}, '--port: expected a whole number, got "0x10"'],
  [{}, { PSYNCD_PORT: ' 16' }, {}, 'PSYNCD_PORT: expected a whole number, got " 16"'],
  [{}, {}, [], '--config FILE: expected a JSON object'],
  [{}, {}, 'null', '--config FILE: expected a JSON object'],
] as const) {
  test(`a wrong value names its source: ${expected}`, () => {
    const file = fileOf(content);
    assert.equal(refusal(() => loadSettings(flags, environment, file)).replace(file, 'FILE'), expected);
  });
}

test('a config file that is missing or not JSON is named in the error', () => {
  const missing = join(folder, 'missing.json');
  for (const file of [missing, fileOf('{port: 1}')]) {
    assert.ok(refusal(() => loadSettings({}, {}, file)).startsWith(`--config ${file}: `));
  }
});

test('a configuration that is no regular file, or has more than 1 MiB, is refused without reading on', () => {
  const fifo = join(folder, 'fifo');
  execFileSync('mkfifo', [fifo]);
  const link = join(folder, 'link');
  symlinkSync(fifo, link);
  const limit = 1024 * 1024;
  for (const [file, reason] of [
    [fifo, 'it is no regular file'],
    [link, 'it is no regular file'],
    [folder, 'it is a folder'],
    [fileOf(`{"port": 1}${' '.repeat(limit)}`), `it has more than ${limit} bytes`],
  ] as const) {
    assert.equal(
      refusal(() => loadSettings({}, {}, file)),
      `--config ${file}: ${reason}`,
    );
  }
  const link2 = join(folder, 'link2');
  symlinkSync(fileOf(`{"port": 1}${' '.repeat(limit - 11)}`), link2);
  assert.equal(loadSettings({}, {}, link2).port, 1);
});

test('an empty environment variable counts as not set', () => {
  assert.equal(loadSettings({}, { PSYNCD_PORT: '' }, fileOf({ port: '4' })).port, 4);
});

test('a configuration file may begin with a byte order mark, and have white space around it', () => {
  assert.equal(loadSettings({}, {}, fileOf('\ufeff\n {"port": 1}\n')).port, 1);
});

test('a value that a stronger source overrides is not checked', () => {
  assert.equal(loadSettings({ port: '1' }, { PSYNCD_PORT: 'x' }, fileOf({ port: 'y' })).port, 1);
});

for (const replicaOf of ['ws://master:7796', 'wss://master', 'ws://[::1]:1/', 'no-one']) {
  test(`--replica-of ${replicaOf} is taken as it is`, () => {
    assert.equal(loadSettings({ replicaOf }, {}, null).replicaOf, replicaOf);
  });
}

for (const host of ['localhost', '127.0.0.1', '127.1.2.3', '::1']) {
  test(`--host ${host} is loopback: nobody else can come in`, () => {
    assert.equal(loadSettings({ host }, {}, null).host, host);
  });
}

for (const host of [
  '0.0.0.0',
  '::',
  '10.0.0.1',
  'example.org',
  '127.0.0.1.example.org',
  'localhost.example.org',
  '1127.0.0.1',
]) {
  test(`--host ${host} is refused, unless --allow-anonymous says that it is meant`, () => {
    assert.match(
      refusal(() => loadSettings({ host }, {}, null)),
      /--allow-anonymous/,
    );
    assert.match(
      refusal(() => loadSettings({ allowAnonymous: 'false' }, { PSYNCD_HOST: host }, null)),
      /--allow-anonymous/,
    );
    assert.equal(loadSettings({ host, allowAnonymous: 'true' }, {}, null).host, host);
  });
}

const TLS = { tlsCert: 'node.crt', tlsKey: 'node.key' };

test('required certificates of clients are a credential, which opens other addresses than loopback', () => {
  const required = { ...TLS, tlsClientCa: 'ca.crt', tlsClientAuth: 'required' };
  assert.equal(loadSettings({ ...required, host: '0.0.0.0' }, {}, null).host, '0.0.0.0');
  for (const flags of [TLS, { ...required, tlsClientAuth: 'optional' }]) {
    assert.match(
      refusal(() => loadSettings({ ...flags, host: '0.0.0.0' }, {}, null)),
      /^--host 0\.0\.0\.0 lets everybody in/,
    );
  }
});

for (const [flags, line] of [
  [{ tlsCert: 'node.crt' }, '--tls-cert needs --tls-key'],
  [{ tlsKey: 'node.key' }, '--tls-key needs --tls-cert'],
  [{ tlsClientCa: 'ca.crt', tlsClientAuth: 'required' }, '--tls-client-ca needs --tls-cert'],
  [{ ...TLS, tlsClientCa: 'ca.crt' }, '--tls-client-ca needs --tls-client-auth'],
  [{ ...TLS, tlsClientAuth: 'required' }, '--tls-client-auth needs --tls-client-ca'],
] as const) {
  test(`of the settings for TLS, ${Object.keys(flags).join(' and ')} alone: ${line}`, () => {
    assert.equal(
      refusal(() => loadSettings(flags, {}, null)),
      line,
    );
  });
}

test('the table of settings is the only place that lists settings: elsewhere no five lines name four of them', () => {
  const root = fileURLToPath(new URL('..', import.meta.url));
  // A single word such as `port` may mean anything; each of the others stands for one setting.
  const names = SETTINGS.map(({ name }) => name).filter((name) => /[A-Z]/.test(name));
  const spellings = names.map(
    (name) => new RegExp(`(?<![-\\w])(?:${name}|${flagOf(name)}|${variableOf(name)})(?![-\\w])`),
  );
  const lists = ['src', 'tools'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .map((path) => join(folder, path))
      .filter(
        (path) =>
          path.endsWith('.ts') &&
          !path.startsWith('src/settings/entries/') &&
          !/generated|client\/admin\/answers/.test(path),
      )
      .flatMap((path) => {
        const lines = readFileSync(join(root, path), 'utf8').split('\n');
        const at = lines.findIndex((_line, index) => {
          const some = lines.slice(index, index + 5).join('\n');
          return spellings.filter((spelling) => spelling.test(some)).length >= 4;
        });
        return at === -1 ? [] : [`${path}:${at + 1}`];
      }),
  );
  assert.deepEqual(lists, []);
});

test('/v1/config describes each setting whose entry has a schema, and takes those that may change', () => {
  const described = SETTINGS.filter(({ schema }) => schema !== null);
  const named = described.map(({ name }) => name).sort();
  assert.deepEqual(Object.keys(config.properties).sort(), named);
  assert.deepEqual([...config.required].sort(), named);
  const live = described.filter(({ isLive }) => isLive).map(({ name }) => name);
  assert.deepEqual(Object.keys(configPatch.properties).sort(), live.sort());
});

test('openapi.yaml names each setting that /v1/config answers or takes', () => {
  const answered = Object.keys(shown(loadSettings({}, {}, null)));
  assert.deepEqual(Object.keys(config.properties), answered);
  const taken = SETTINGS.filter(({ isLive }) => isLive).map(({ name }) => name);
  assert.deepEqual(Object.keys(configPatch.properties), taken);
});

test('a default is allowed by the setting itself, and `atMost` names a setting', () => {
  const names = new Set<string>(SETTINGS.map(({ name }) => name));
  for (const { initial, parse, atMost } of SETTINGS) {
    if (initial !== null) assert.doesNotThrow(() => parse(initial));
    assert.ok(atMost === undefined || names.has(atMost));
  }
});

test('the help of serve shows each flag, and a default only where there is one', () => {
  const serve = program().commands.find((command) => command.name() === 'serve');
  const help = serve?.helpInformation() ?? '';
  for (const { name } of SETTINGS) assert.match(help, new RegExp(`^ +${flagOf(name)}[ <\\n]`, 'm'));
  assert.doesNotMatch(help, /\(default: *\)/);
});
