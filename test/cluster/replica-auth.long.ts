/** AUTH: a replica shows its token in the conversation, and a new one while it streams. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { createToken, revokeToken } from '../../src/access/tokens/tokens.ts';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Client } from '../../src/client/rest.ts';
import { MAX_LOCKED } from '../../src/node/session/sessions.ts';
import { array } from '../../src/stream/encoder.ts';
import { RawReplica } from '../support/raw-replica.ts';
import { call, trusting } from '../support/trusting.ts';

const REPLICATE = { psyncd: { rights: ['replicate'] } };

/** A node with JWTs and a list, and tokens of the list. */
async function guarded(t: TestContext, ...flags: string[]) {
  const trusted = await trusting(t, ...flags);
  const { cluster, node } = trusted;
  const file = join(cluster.data('node'), 'tokens.json');
  const make = async (right: 'read' | 'replicate'): Promise<string> => {
    const wanted = { name: 'test', rights: [right], prefixes: null, expiresAt: null };
    const { text } = await createToken(file, wanted, Date.now());
    await until('it is known', async () => (await call(node, text, 'GET', '/nothing')).status === 404);
    return text;
  };
  const revoke = (token: string): Promise<unknown> => revokeToken(file, token.split('_')[1] as string);
  return { ...trusted, make, revoke };
}

/** Says several commands in one packet. */
function sayAll(replica: RawReplica, ...commands: readonly (readonly string[])[]): void {
  replica.socket.send(Buffer.from(commands.map((words) => array(words)).join(''), 'utf8'));
}

function closed(replica: RawReplica): Promise<unknown> {
  return until('it is closed', () => replica.closed !== null);
}

test('every command but PING is refused before AUTH, and AUTH says what is wrong with a token', async (t) => {
  const { node, make } = await guarded(t);
  const replica = await RawReplica.connect(t, node);
  const asked = async (...words: readonly string[]): Promise<string> => {
    replica.say(...words);
    return replica.line();
  };
  const refused = '-NOAUTH Authentication required.';
  assert.equal(await asked('PING'), '+PONG');
  for (const words of [['REPLCONF', 'node-id', 'n'], ['PSYNC', '?', '-1'], ['SYNC'], ['GET', 'k']]) {
    assert.equal(await asked(...words), refused, words.join(' '));
  }
  assert.equal(await asked('AUTH', 'nonsense'), '-WRONGPASS the token is not valid');
  assert.equal(await asked('AUTH', await make('read')), '-NOPERM this token has no right replicate');
  assert.equal(await asked('PSYNC', '?', '-1'), refused);
  assert.equal(await asked('AUTH', await make('replicate')), '+OK');
  assert.equal(await asked('REPLCONF', 'node-id', 'n'), '+OK');
  assert.match(await asked('PSYNC', '?', '-1'), /^\+FULLRESYNC /);
});

test('commands behind an AUTH whose token is verified first are answered in order', async (t) => {
  const { node, issuer } = await guarded(t);
  for (const _ of Array(3)) {
    const replica = await RawReplica.connect(t, node);
    const token = await issuer.sign({ ...REPLICATE, jti: crypto.randomUUID() });
    sayAll(replica, ['PING'], ['AUTH', 'default', token], ['REPLCONF', 'node-id', 'n'], ['PSYNC', '?', '-1']);
    for (const expected of [/^\+PONG$/, /^\+OK$/, /^\+OK$/, /^\+FULLRESYNC /]) {
      assert.match(await replica.line(), expected);
    }
  }
});

test('AUTH on an open stream renews the token, and ends the stream with one that is no good', async (t) => {
  const { node, issuer, make, revoke } = await guarded(t);
  const [old, next] = [await make('replicate'), await make('replicate')];
  const streaming = async (): Promise<RawReplica> => {
    const replica = await RawReplica.connect(t, node);
    sayAll(replica, ['AUTH', old], ['PSYNC', '?', '-1']);
    assert.equal(await replica.line(), '+OK');
    assert.match(await replica.line(), /^\+FULLRESYNC /);
    return replica;
  };
  const [renews, wrong, lesser, stays] = [
    await streaming(),
    await streaming(),
    await streaming(),
    await streaming(),
  ];
  renews.say('AUTH', next);
  wrong.say('AUTH', 'nonsense');
  lesser.say('AUTH', await make('read'));
  await Promise.all([closed(wrong), closed(lesser)]);
  assert.deepEqual([wrong.closed?.code, lesser.closed?.code], [4401, 4403]);
  await revoke(old);
  await closed(stays);
  assert.equal(stays.closed?.code, 4401);
  const before = renews.receivedBytes;
  await call(node, await issuer.sign(), 'PUT', '/v1/keys/k', 'after');
  await until(
    'the write has come',
    () => renews.receivedBytes > before && /after/.test(String(renews.received)),
  );
  assert.equal(renews.closed, null);
  assert.doesNotMatch(node.log, new RegExp(next));
});

test('connections without a token are few, and take no place of those that have one', async (t) => {
  const { node, make } = await guarded(t, '--max-replicas', '1');
  const token = await make('replicate');
  const handshake = await RawReplica.connect(t, node);
  handshake.say('AUTH', token);
  assert.equal(await handshake.line(), '+OK');
  const locked: RawReplica[] = [];
  for (const _ of Array(MAX_LOCKED + 70)) locked.push(await RawReplica.connect(t, node));
  await until('the oldest are closed', () => locked.filter((each) => each.closed !== null).length === 70);
  assert.ok(locked.slice(0, 70).every((each) => each.closed?.code === 4429));
  handshake.say('PSYNC', '?', '-1');
  assert.match(await handshake.line(), /^\+FULLRESYNC /);
});

test('connections that never show a token make one line of the log together, those that show one later make all of theirs', async (t) => {
  const { node, make } = await guarded(t);
  const token = await make('replicate');
  for (let round = 0; round < 20; round += 1) {
    const stranger = await RawReplica.connect(t, node);
    if (round % 2 === 0) stranger.say('PSYNC', '?', '-1');
    else stranger.say('AUTH', 'nonsense');
    await stranger.line();
    stranger.socket.terminate();
  }
  const replica = await RawReplica.connect(t, node);
  replica.say('AUTH', token);
  assert.equal(await replica.line(), '+OK');
  replica.socket.terminate();
  const lines = (): readonly (readonly [string, string | undefined])[] =>
    [...node.log.matchAll(/^.*"msg":"(connected|session-\w+|replicas-without-token)".*$/gm)].map(
      ([line, name]) => [name ?? '', /"session":"(\d+)"/.exec(line)?.[1]],
    );
  await until('its end is logged', () => lines().some(([name]) => name === 'session-closed'));
  assert.deepEqual(lines(), [
    ['replicas-without-token', undefined],
    ['connected', '21'],
    ['session-closed', '21'],
  ]);
});

test('an open node takes any token with AUTH', async (t) => {
  const { cluster } = await trusting(t);
  const open = await cluster.start('open');
  const replica = await RawReplica.connect(t, open);
  replica.say('AUTH', 'anything');
  assert.equal(await replica.line(), '+OK');
});

function streams(replica: ChildNode): Promise<unknown> {
  return until(
    'the replica streams',
    async () => (await replica.client.replication()).upstream?.state === 'streaming',
  );
}

test('a replica whose token file changes shows the new token on its open link', async (t) => {
  const { cluster, node, issuer, make, revoke } = await guarded(t);
  const [old, next] = [await make('replicate'), await make('replicate')];
  const tokenFile = join(cluster.data('node'), '..', 'token');
  writeFileSync(tokenFile, old);
  const flags = ['--replica-of', node.wsUrl, '--upstream-token-file', tokenFile];
  const replica = await cluster.start('replica', ...flags);
  await streams(replica);
  writeFileSync(tokenFile, next);
  const other = await RawReplica.connect(t, node);
  sayAll(other, ['AUTH', old], ['PSYNC', '?', '-1']);
  const admin = new Client(node.url, { token: await issuer.sign({ psyncd: { rights: ['admin'] } }) });
  // The replica looks at the file when it acknowledges, once a second: after two more it has.
  let age = 0;
  let count = 0;
  await until('two acknowledgements have come', async () => {
    const { replicas } = await admin.replication();
    const now = replicas.find(({ url }) => url !== undefined)?.ackAgeMs ?? 0;
    if (now < age) count += 1;
    age = now;
    return count >= 2;
  });
  await revoke(old);
  await closed(other);
  const { position } = await admin.set('k', 'v');
  await until('the write has come', async () => (await replica.client.replication()).position === position);
  assert.doesNotMatch(replica.log, /link-down/);
  const { counters } = await admin.replication();
  assert.equal(counters.syncPartialOk, 0, 'it did not connect again');
});

test('a replica that its master refuses says which setting names its token, and serves what it has', async (t) => {
  const { cluster, node, make } = await guarded(t);
  const file = (name: string, text: string): string => {
    const path = join(cluster.data('node'), name);
    writeFileSync(path, text);
    return path;
  };
  for (const [name, flags, detail] of [
    ['none', [], /^NOAUTH .*; this node shows no token: --upstream-token-file FILE names one$/],
    ['empty', [file('a', '')], /^NOAUTH .*; this node shows no token, because the file of --up\S+ has none$/],
    ['wrong', [file('b', 'wrong')], /not valid; this node shows the token of --upstream-token-file$/],
    ['lesser', [file('c', await make('read'))], /replicate.*; this node shows the token of --up\S+$/],
  ] as const) {
    const shown = flags.flatMap((path) => ['--upstream-token-file', path]);
    const replica = await cluster.start(name, '--replica-of', node.wsUrl, ...shown);
    const told = await until(`${name} is refused`, async () => {
      const { upstream } = await replica.client.replication();
      return upstream?.state === 'unauthorized' ? upstream.detail : null;
    });
    assert.match(told, detail);
    await until('the log says the same', () => replica.log.includes(JSON.stringify(told)));
    if (name === 'none') assert.equal((await call(replica, null, 'GET', '/v1/keys')).status, 200);
  }
});

test('a replica takes the place of an older connection only if both have shown the same token', async (t) => {
  const { node, issuer, make } = await guarded(t);
  const [own, other] = [await make('replicate'), await make('replicate')];
  const sign = (): Promise<string> => issuer.sign({ ...REPLICATE, sub: 'replica', jti: crypto.randomUUID() });
  const connect = async (token: string): Promise<RawReplica> => {
    const replica = await RawReplica.connect(t, node);
    sayAll(replica, ['AUTH', token], ['REPLCONF', 'node-id', 'n'], ['PSYNC', '?', '-1']);
    for (const expected of [/^\+OK$/, /^\+OK$/, /^\+FULLRESYNC /])
      assert.match(await replica.line(), expected);
    return replica;
  };
  const first = await connect(own);
  const strangers = [await connect(other), await connect(await sign()), await connect(await sign())];
  const client = new Client(node.url, { token: own });
  assert.equal((await client.replication()).replicas.length, 4);
  const second = await connect(own);
  assert.deepEqual(await first.whenClosed(), { code: 1001, reason: 'the replica has connected anew' });
  assert.equal((await client.replication()).replicas.length, 4);
  for (const { closed } of [...strangers, second]) assert.equal(closed, null);
});
