/** A program with a mirror ends by itself once the mirror is over, whatever node and storage still owe it. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { FeedModel } from '../support/feed-model.ts';
import { type ScriptedFeed, scriptedFeed } from '../support/scripted-feed.ts';

const MIRROR = fileURLToPath(new URL('../../src/client/mirror/mirror.ts', import.meta.url));
const TRANSPORT = fileURLToPath(new URL('../../src/client-node/transport.ts', import.meta.url));
/** A program that has not ended after this time hangs. */
const PATIENCE_MS = 60_000;

/** Runs a program with a mirror of the node. @returns what it prints, once it has ended by itself */
async function printed({ url }: ScriptedFeed, program: string): Promise<string> {
  const source = `
    import { mirror } from ${JSON.stringify(MIRROR)};
    const url = ${JSON.stringify(url)};
    const never = () => new Promise(() => undefined);
    ${program}`;
  const options = { timeout: PATIENCE_MS };
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--input-type=module', '-e', source],
    options,
  );
  return stdout;
}

/** A history across a promotion, with an entry that expires in a year. */
function promoted(): FeedModel {
  const history = new FeedModel();
  history.set('k', 'v', Date.now() + 365 * 86_400_000);
  history.promote('b'.repeat(40));
  history.set('other', 'v');
  return history;
}

test('a closed mirror keeps no program running, though its storage and its node never answer', async (t) => {
  const history = promoted();
  const feed = await scriptedFeed(
    t,
    () => history.from(undefined),
    () => undefined,
  );
  const program = `
    const copy = mirror({ url, storage: { load: never, save: never, close: never, lock: never }, storageMs: 20 });
    await copy.ready;
    copy.waitFor('${'a'.repeat(40)}:5');
    await copy.close();
    console.log(copy.state.kind, copy.size);`;
  assert.equal(await printed(feed, program), 'closed 2\n');
});

test('a mirror that has failed keeps no program running, even if nobody closes it', async (t) => {
  const history = promoted();
  const feed = await scriptedFeed(t, () => [
    ...history.from(undefined),
    { type: 'error', code: 'FORBIDDEN', detail: 'not you' },
    4403,
  ]);
  const program = `
    const copy = mirror({ url });
    copy.on('state', ({ kind }) => { if (kind === 'failed') console.log(kind, copy.size); });`;
  assert.equal(await printed(feed, program), 'failed 2\n');
});

test('with nodeTransport a closed mirror keeps no program running, though the node never ends the connection', async (t) => {
  const history = promoted();
  const feed = await scriptedFeed(t, () => [...history.from(undefined), 'HALF-OPEN']);
  const program = `
    import { nodeTransport } from ${JSON.stringify(TRANSPORT)};
    const copy = mirror({ url, transport: nodeTransport({}) });
    await copy.ready;
    await copy.close();
    console.log(copy.state.kind, copy.size);`;
  assert.equal(await printed(feed, program), 'closed 2\n');
});
