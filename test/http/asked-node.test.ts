/** What the thread of `--metrics-listen` does while the main thread answers, answers late, or does not answer. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { ANSWER_MS, AskedNode, MAX_QUESTIONS } from '../../src/http/metrics-side/asked-node.ts';
import type { Answer, NodeState, Question } from '../../src/http/metrics-side/messages.ts';
import { ANY } from '../../src/node/readiness.ts';
import { offset, type RunId } from '../../src/replication/position.ts';

const STATE: NodeState = {
  position: { runId: 'a'.repeat(40) as RunId, offset: offset(0) },
  role: 'master',
  closing: false,
  logsRequests: false,
  bodyTimeoutMs: 1_000,
  requestMemoryBytes: 1_000_000,
};
const BUSY = { code: 'LOADING', status: 503 };

/** A main thread that answers when the test says so, and a clock that the test moves. */
class Main {
  ms = 0;
  readonly questions: { readonly id: number; readonly question: Question }[] = [];
  readonly #timers = new Set<{ readonly at: number; readonly callback: () => void }>();
  readonly node = new AskedNode(STATE, (id, question) => this.questions.push({ id, question }), {
    monotonic: () => this.ms,
    after: (delayMs, callback) => {
      const timer = { at: this.ms + delayMs, callback };
      this.#timers.add(timer);
      return () => this.#timers.delete(timer);
    },
  });

  get timers(): number {
    return this.#timers.size;
  }

  /** Answers the oldest question. @param restMs of the text */
  answer(text: string | null, restMs = 0, unready: Answer['unready'] = null, role = STATE.role): void {
    const { id } = this.questions.shift() ?? { id: 0 };
    const sent = text === null ? null : { contentType: 'text/plain', bytes: Buffer.from(text), restMs };
    this.node.answered({ id, text: sent, unready, state: { ...STATE, role } });
  }

  async pass(ms: number): Promise<void> {
    this.ms += ms;
    for (const timer of this.#timers) {
      if (timer.at > this.ms) continue;
      this.#timers.delete(timer);
      timer.callback();
    }
    await new Promise(setImmediate);
  }
}

async function scrapedFrom({ node }: Main): Promise<string> {
  return Buffer.from((await node.scrape()).bytes).toString();
}

test('a text answers scrapes for as long as the main thread says, and scrapes at one time share a question', async () => {
  const main = new Main();
  const first = [scrapedFrom(main), scrapedFrom(main)];
  assert.deepEqual(
    main.questions.map(({ question }) => question),
    [{ about: 'metrics' }],
  );
  main.answer('one', 100);
  assert.deepEqual(await Promise.all(first), ['one', 'one']);
  main.ms += 99;
  assert.equal(await scrapedFrom(main), 'one');
  assert.equal(main.questions.length, 0);
  main.ms += 1;
  const next = scrapedFrom(main);
  main.answer('two');
  assert.equal(await next, 'two');
  assert.equal(main.timers, 0);
});

test('whoever waits too long for the main thread gets 503, and a late answer ends that', async () => {
  const main = new Main();
  const early = scrapedFrom(main);
  main.answer('old', 1_000);
  assert.equal(await early, 'old');
  main.ms += 1_000;
  const waiting = [scrapedFrom(main), main.node.refresh(), main.node.unready(ANY)];
  const refused = Promise.all(waiting.map((each) => assert.rejects(each, BUSY)));
  await main.pass(ANSWER_MS);
  await refused;
  // No more questions come to a main thread that has not answered the last one of the kind.
  const again = assert.rejects(scrapedFrom(main), BUSY);
  assert.equal(main.questions.length, 3);
  await main.pass(ANSWER_MS);
  await again;
  const last = scrapedFrom(main);
  main.answer('new', 0);
  assert.equal(await last, 'new');
});

test('questions about readiness are asked each for itself, and a busy main thread gets only so many', async () => {
  const main = new Main();
  const asked = [main.node.unready(ANY), main.node.unready({ ...ANY, role: 'replica' })];
  assert.equal(main.questions.length, 2);
  main.answer(null, 0, { code: 'LOADING', message: 'not yet' }, 'replica');
  main.answer(null);
  const [first, second] = await Promise.all(asked);
  assert.deepEqual([first?.code, first?.message, second], ['LOADING', 'not yet', null]);
  const many = Array.from({ length: MAX_QUESTIONS }, () => main.node.unready(ANY));
  await assert.rejects(main.node.unready(ANY), BUSY);
  while (main.questions.length > 0) main.answer(null);
  assert.deepEqual([...new Set(await Promise.all(many))], [null]);
});

test('the state is at most a second old where an answer shows it', async () => {
  const main = new Main();
  await main.node.refresh();
  assert.equal(main.questions.length, 0);
  main.ms += 1_000;
  const fresh = main.node.refresh();
  main.answer(null, 0, null, 'replica');
  await fresh;
  assert.equal(main.node.role, 'replica');
});
