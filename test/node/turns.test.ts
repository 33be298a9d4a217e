/** Long loops run for a time, not for a count, and background work takes its share of the event loop and no more. */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  BACKGROUND_SHARE,
  MAX_REST_MS,
  OneByOne,
  restAfter,
  SharedTurn,
  TURN_MS,
  Turns,
} from '../../src/node/turns.ts';

const SRC = fileURLToPath(new URL('../../src/', import.meta.url));

/** An event loop that has its turn when the test says so. */
class FakeLoop {
  ms = 0;
  #soon: (() => void)[] = [];

  get waiting(): number {
    return this.#soon.length;
  }

  monotonic(): number {
    return this.ms;
  }

  soon(callback: () => void): void {
    this.#soon.push(callback);
  }

  async turn(): Promise<void> {
    for (const callback of this.#soon.splice(0)) callback();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test('a long loop runs for its time and then waits until the event loop has had its turn', async () => {
  const loop = new FakeLoop();
  let steps = 0;
  const running = (async () => {
    const turns = new Turns(loop);
    for (; steps < 30; steps += 1) {
      loop.ms += 1;
      await turns.next();
    }
  })();
  const stepsAtTurn: number[] = [];
  while (steps < 30) {
    await loop.turn();
    stepsAtTurn.push(steps);
  }
  await running;
  const atOnce = stepsAtTurn.map((at, index) => at - (stepsAtTurn[index - 1] ?? 0));
  assert.ok(Math.max(...atOnce) <= 2 * TURN_MS, String(atOnce));
});

test('a loop that takes no time never waits', async () => {
  const loop = new FakeLoop();
  const turns = new Turns(loop);
  for (let step = 0; step < 1_000; step += 1) await turns.next();
  assert.equal(loop.waiting, 0);
});

test('callbacks that call each other share one time in each turn of the event loop', async () => {
  const loop = new FakeLoop();
  const turn = new SharedTurn(loop);
  assert.equal(turn.isOver, false);
  loop.ms += TURN_MS;
  assert.equal(turn.isOver, true);
  assert.equal(turn.isOver, true);
  assert.equal(loop.waiting, 1);
  await loop.turn();
  assert.equal(turn.isOver, false);
});

test('each turn of the event loop continues one of the loops that share a line, in their order', async () => {
  const loop = new FakeLoop();
  const line = new OneByOne(loop);
  const done: string[] = [];
  const running = ['a', 'b', 'c'].map(async (name) => {
    const turns = new Turns(line);
    turns.end();
    for (let slice = 0; slice < 2; slice += 1) {
      await turns.next();
      done.push(name);
      loop.ms += TURN_MS;
    }
  });
  for (let turn = 1; turn <= 6; turn += 1) {
    await loop.turn();
    assert.equal(done.length, turn);
  }
  await Promise.all(running);
  assert.deepEqual(done, ['a', 'b', 'c', 'a', 'b', 'c']);
  assert.equal(loop.waiting, 0);
});

test('background work never exceeds its share of the event loop, whatever a step costs', () => {
  for (const stepMs of [0, 0.3, 1, 7, 20, MAX_REST_MS / 3]) {
    const restMs = restAfter(stepMs);
    assert.ok(stepMs / (stepMs + restMs) <= BACKGROUND_SHARE, `${stepMs} ms, then ${restMs} ms`);
  }
  assert.equal(restAfter(100_000), MAX_REST_MS);
});

/** The file has loops that a user can make long; they use `turns.ts`. */
const TURNS = 'it uses turns.ts';
/**
 * Every file of the main thread that has a loop over a stream, or one without a counter: how many such loops it has, and why
 * none of them keeps the event loop from its turn. Whoever adds a loop adds it here, with its reason.
 */
const LOOPS: Readonly<Record<string, readonly [loops: number, why: string]>> = {
  'archive/catalogue.ts': [1, 'in a command, and it waits for the target in each round'],
  'archive/restoring/base-proof.ts': [2, 'in a command'],
  'archive/archiver.ts': [1, 'it waits for the target or for commits in each round'],
  'archive/resume.ts': [4, 'it waits for the target in each round'],
  'archive/running/object-count.ts': [1, 'it waits for the target in each round'],
  'archive/running/piece.ts': [1, 'each round reads SLICE_BYTES, and others get a turn then'],
  'archive/commit-times.ts': [2, 'a binary search, and at most 24 rounds over at most 65,536 marks'],
  'archive/coverage.ts': [2, 'over the names of an archive, some microseconds for each thousand'],
  'archive/covered.ts': [1, 'over the parts of an archive, some microseconds for each thousand'],
  'archive/heap.ts': [2, 'a path of a binary tree'],
  'archive/periods/begins.ts': [1, 'a binary search, and it waits for the target in each round'],
  'archive/periods/periods.ts': [1, 'in a command, over the ancestors of a history'],
  'archive/restoring/replay.ts': [2, 'in a command'],
  'archive/restoring/stops.ts': [1, 'in a command, a binary search'],
  'archive/retention/archive-needs.ts': [1, 'it waits for the target in each round'],
  'archive/retention/cut-segments.ts': [1, 'it waits for the target in each round'],
  'archive/retention/holdings.ts': [1, 'it waits for the target in each round'],
  'archive/retention/last-bytes.ts': [
    2,
    'a binary search over at most MAX_BASES, and over those in one segment; it waits for the target in each round',
  ],
  'archive/retention/needs.ts': [
    1,
    'over at most MAX_STRETCHES; between two histories the event loop has its turn',
  ],
  'archive/retention/stand-ins.ts': [3, 'a binary search, and each round of the others waits for the target'],
  'archive/segment-reader.ts': [3, 'in a command, and it awaits each read'],
  'http/ask-peer.ts': [1, 'over what the socket has given of one answer, which MAX_ANSWER_BYTES limits'],
  'http/request/conditions.ts': [1, 'over one header, which Node limits to 16 KiB'],
  'http/routes/keys/import-route.ts': [1, TURNS],
  'node/node.ts': [1, 'it waits for a backup in each round'],
  'node/ports/peer-words.ts': [1, 'over the first 16 Ki characters of the words of a peer'],
  'node/ports/counts.ts': [1, 'over the ranges of a histogram, about fifteen'],
  'http/fast-path/closings.ts': [1, TURNS],
  'http/fast-path/in-order.ts': [1, 'it ends with the turn of the event loop (rounds.ts)'],
  'http/request/large-json.ts': [
    2,
    'inBuffers takes the pieces of one value in slices.ts, which uses turns.ts; and over the bytes of one character',
  ],
  'http/routes/keys/list-routes.ts': [1, 'over groups of Node.readEntries, which uses turns.ts'],
  'http/request/bodies/ndjson.ts': [
    2,
    'over what the socket has given, 64 KiB at a time; import-route.ts, which reads it, uses turns.ts',
  ],
  'http/request/slices.ts': [1, TURNS],
  'node/feed/catch-up.ts': [1, 'until Budget is spent'],
  'node/link/adoption.ts': [1, TURNS],
  'node/link/chain.ts': [1, 'it waits for the answer of a peer in each round'],
  'node/upkeep/comparison.ts': [1, 'a turn after each MiB of the stream'],
  'node/upkeep/diff/diffs.ts': [
    2,
    `${TURNS}; a page is made again only if the journal was found damaged further on`,
  ],
  'node/upkeep/exports.ts': [1, TURNS],
  'node/upkeep/backup-prune.ts': [1, 'it waits for the target after each page of a list'],
  'node/upkeep/newest-backup.ts': [1, 'it waits for the target after each page of a list'],
  'node/upkeep/diff/touched-keys.ts': [1, 'a binary search'],
  'node/upkeep/copies/copy-shelf.ts': [
    2,
    'over at most MAX_COPIES copies; it waits for the disk in each round',
  ],
  'node/feed/followers/follower-snapshots.ts': [3, TURNS],
  'node/feed/rounds.ts': [2, TURNS],
  'node/head/history/hash-chain.ts': [1, 'a binary search'],
  'node/link/incoming-snapshot.ts': [1, 'it waits for the disk in each round'],
  'node/feed/messages/key-search.ts': [1, 'a binary search'],
  'node/feed/messages/message.ts': [
    1,
    'over the commands of one transaction, which MAX_TRANSACTION_BYTES limits',
  ],
  'node/write/delete-prefix.ts': [1, TURNS],
  'node/feed/followers/prefix-trie.ts': [2, 'over the characters of one prefix, which MAX_KEY_BYTES limits'],
  'node/session/session-output.ts': [1, TURNS],
  'node/session/snapshots.ts': [1, 'it waits for the readers of a frozen file in each round'],
  'node/head/backlog-refill.ts': [2, TURNS],
  'node/head/keyspace/keyspace-view.ts': [1, 'over the keys of a small snapshot, which `maxEntries` limits'],
  'node/head/recovery.ts': [1, 'over the journal, before the node serves anybody'],
  'node/feed/followers/segment.ts': [1, 'over one block, and the write at its end'],
  'node/feed/followers/stretch.ts': [
    1,
    'over the segments of one block, of which each is longer than the next',
  ],
  'node/write/write-turn.ts': [
    2,
    'over one turn, which has limits of its own; and over the last turns when the node stops',
  ],
  'store/keyspace/applier.ts': [1, 'on the thread of the applier'],
  'store/fault-point.ts': [1, 'in tests only, and it waits for a timer each time'],
  'store/state/gate.ts': [1, 'it waits for a commit of some microseconds'],
  'store/keyspace/incoming-file-thread.ts': [2, 'on a thread of its own'],
  'store/keyspace/file-reader.ts': [1, 'a page has a limit'],
  'store/keyspace/keyspace-file.ts': [1, 'tidying waits for the thread of the applier in each round'],
  'store/backup/check-folder.ts': [2, 'in a command, which serves nobody meanwhile'],
  'store/backup/growing-backup.ts': [1, 'in a command, and it waits for the applier in each round'],
  'store/backup/room.ts': [2, 'in a command, and it awaits each read'],
  'store/backup/seal.ts': [2, 'in a command, and it awaits each read'],
  'store/copies/seal-thread.ts': [2, 'on a thread of its own'],
  'store/copies/copy-thread.ts': [2, 'on a thread of its own'],
  'store/checks/page-walk.ts': [1, 'on the threads of incoming-file-thread.ts and file-task-thread.ts'],
  'store/checks/scrub.ts': [1, 'on a thread of its own'],
  'store/keyspace/snapshot-reader.ts': [2, TURNS],
  'store/stale-wal.ts': [1, 'over the columns of one row; its check comes before the node serves anybody'],
  'ws/dial.ts': [1, 'over what the socket has given of one answer, which MAX_REFUSAL_BYTES limits'],
};
const LOOP = /\bfor await \(|\bwhile \(|\bfor \((?:let [^;]*)?; ?[^;]*; ?\)/g;

test('every loop of the main thread that may be long lets the event loop turn, or states why it need not', async () => {
  const found: Record<string, number> = {};
  const withoutTurns: string[] = [];
  for (const room of ['archive', 'node', 'http', 'web', 'store', 'ws']) {
    for (const name of await readdir(`${SRC}${room}`, { recursive: true })) {
      if (!name.endsWith('.ts')) continue;
      const file = `${room}/${name}`;
      const text = await readFile(`${SRC}${file}`, 'utf8');
      const loops = text.match(LOOP)?.length ?? 0;
      if (loops > 0) found[file] = loops;
      if (LOOPS[file]?.[1] === TURNS && !/from '[./]+(?:node\/)?turns\.ts'/.test(text))
        withoutTurns.push(file);
    }
  }
  const expected = Object.fromEntries(Object.entries(LOOPS).map(([file, [loops]]) => [file, loops]));
  assert.deepEqual(found, expected);
  assert.deepEqual(withoutTurns, []);
});
