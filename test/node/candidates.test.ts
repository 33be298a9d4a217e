/** Which replicas could take over from a master, and to which of them it shows its token. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { NO_TOKEN, type OwnToken } from '../../src/node/ports/peers.ts';
import { Problem } from '../../src/node/problem.ts';
import { candidates } from '../../src/node/role/candidates.ts';
import type { Session } from '../../src/node/session/session.ts';

const PLAIN = 'ws://replica:1';
const SECURE = 'wss://replica:2';
const TOKEN: OwnToken = { isSet: true, needsTls: false, read: () => 'own' };

/** Stands for the replicas of a node without tokens, where everybody may do everything. */
const EVERYBODY = Symbol('everybody');

/** A replica that announces the URL, and has shown the token. */
function replica(url: string, shown: string | null | typeof EVERYBODY): Session {
  const isForAll = shown === EVERYBODY;
  const gate = { isOpen: true, isForAll, owner: shown, hasShown: (token: string) => token === shown };
  return { url, nodeId: `id of ${url}`, gate } as unknown as Session;
}

/** @returns the URLs that were asked, and those of the candidates or the problem */
async function chosen(ownToken: OwnToken, sessions: readonly Session[], to: string | null) {
  const asked: string[] = [];
  const ask = (url: string, isOurs: boolean) => {
    assert.ok(isOurs);
    asked.push(url);
    return Promise.resolve({ nodeId: `id of ${url}`, upstream: null });
  };
  const found = await candidates({ ask, ownToken, isGuarded: false }, sessions, to).then(
    (all) => all.map(({ url }) => url),
    (error: unknown) => {
      assert.ok(error instanceof Problem && error.code === 'FAILOVER_REFUSED');
      return error.message;
    },
  );
  return { asked, found };
}

test('a master on which everybody may do everything, without a token of its own, asks every replica', async () => {
  const sessions = [replica(PLAIN, EVERYBODY), replica(SECURE, EVERYBODY)];
  assert.deepEqual((await chosen(NO_TOKEN, sessions, null)).found, [PLAIN, SECURE]);
});

test('a master that needs tokens, without one of its own, hands over only to a replica that an operator has named', async () => {
  for (const shown of ['other', null]) {
    const sessions = [replica(PLAIN, shown), replica(SECURE, shown)];
    const { asked, found } = await chosen(NO_TOKEN, sessions, null);
    assert.deepEqual(asked, []);
    assert.match(String(found), /^name the replica with "to" .*ws:\/\/replica:1, wss:\/\/replica:2$/);
    assert.deepEqual((await chosen(NO_TOKEN, sessions, PLAIN)).found, [PLAIN]);
  }
});

test('a master with a token of its own hands over to nobody just because everybody may do everything', async () => {
  const { asked, found } = await chosen(TOKEN, [replica(PLAIN, EVERYBODY)], null);
  assert.deepEqual(asked, []);
  assert.match(String(found), /^name the replica with "to"/);
});

test('a master shows its token to a replica that nobody has named only if that one has shown the same', async () => {
  const sessions = [replica(PLAIN, 'own'), replica('ws://evil:1', 'other'), replica('ws://open:1', null)];
  const { asked, found } = await chosen(TOKEN, sessions, null);
  assert.deepEqual([asked, found], [[PLAIN], [PLAIN]]);
});

test('a master that may show its token to no replica asks none, and says how to name one', async () => {
  const unread: OwnToken = { ...TOKEN, read: () => null };
  for (const [ownToken, shown] of [
    [TOKEN, 'other'],
    [TOKEN, null],
    [unread, null],
    [unread, 'own'],
  ] as const) {
    const { asked, found } = await chosen(ownToken, [replica(PLAIN, shown)], null);
    assert.deepEqual(asked, []);
    assert.match(String(found), /^name the replica with "to" .*ws:\/\/replica:1$/);
  }
});

test('a master shows its token to the replica that an operator has named, and to no other', async () => {
  const sessions = [replica(PLAIN, 'other'), replica('ws://evil:1', 'own')];
  const { asked, found } = await chosen(TOKEN, sessions, PLAIN);
  assert.deepEqual([asked, found], [[PLAIN], [PLAIN]]);
});

test('a master that uses TLS hands over over TLS only, whoever has named the replica', async () => {
  for (const [own, shown] of [
    [TOKEN, 'own'],
    [NO_TOKEN, EVERYBODY],
  ] as const) {
    const tls: OwnToken = { ...own, needsTls: true };
    const both = [replica(PLAIN, shown), replica(SECURE, shown)];
    assert.deepEqual((await chosen(tls, both, null)).asked, [SECURE]);
    const { asked, found } = await chosen(tls, both, PLAIN);
    assert.deepEqual(asked, []);
    assert.match(String(found), /^this node uses TLS, .* without: ws:\/\/replica:1$/);
  }
});

test('a replica that announces another URL after the choice changes nothing', async () => {
  const session = replica(PLAIN, 'own') as { url: string } & Session;
  const ask = () => {
    session.url = 'ws://evil:1';
    return Promise.resolve({ nodeId: `id of ${PLAIN}`, upstream: null });
  };
  const [candidate] = await candidates({ ask, ownToken: TOKEN, isGuarded: false }, [session], null);
  assert.equal(candidate?.url, PLAIN);
});

test('a master that does not let everybody in hands over to no replica that does, and takes the next one', async () => {
  const sessions = [replica(PLAIN, 'own'), replica(SECURE, 'own')];
  const among = (open: readonly string[], to: string | null, isGuarded = true): Promise<unknown> => {
    const ask = (url: string) => {
      const openToAll = url === SECURE ? {} : { openToAll: open.includes(url) };
      return Promise.resolve({ nodeId: `id of ${url}`, upstream: null, ...openToAll });
    };
    return candidates({ ask, ownToken: TOKEN, isGuarded }, sessions, to).then(
      (all) => all.map(({ url }) => url),
      (error: unknown) => (error instanceof Problem ? `${error.code} ${error.message}` : error),
    );
  };
  // An older psyncd does not say: it counts as one that needs tokens.
  assert.deepEqual(await among([], null), [PLAIN, SECURE]);
  assert.deepEqual(await among([PLAIN], null), [SECURE]);
  assert.match(
    String(await among([PLAIN], PLAIN)),
    /^FAILOVER_REFUSED .*lets everybody in: ws:\/\/replica:1; make tokens for that one \(psyncd token create\)/,
  );
  assert.deepEqual(await among([PLAIN], PLAIN, false), [PLAIN]);
});
