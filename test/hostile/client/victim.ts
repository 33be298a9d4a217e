/**
 * A program whose mirrors and followers hostile nodes attack: `node victim.ts SEED ROUND=URL…`. It prints a line of JSON for
 * each finding and one at the end, and must then end by itself.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { FeedChange, FeedEvent } from '../../../src/client/event.ts';
import { type ConnectionState, type FollowOptions, follow } from '../../../src/client/follow.ts';
import { Mirror } from '../../../src/client/mirror/mirror.ts';
import { memoryStorage } from '../../../src/client/mirror/storage.ts';
import { nodeTransport } from '../../../src/client-node/transport.ts';
import { Chance } from '../chance.ts';
import type { Calm } from './hostile-feed.ts';
import { faultOf, MARK, PREFIXES } from './whole.ts';

/** What the program prints. */
export type Line =
  | { readonly kind: string; readonly detail: string; readonly round: number }
  | { readonly kind: 'end'; readonly peakBytes: number };

const RETRY_BASE_MS = 20;
/** Shortest time between the starts of two attempts: half of `retryBaseMs`, less what timers may be early. */
const MIN_GAP_MS = RETRY_BASE_MS / 2 - 2;
/** Most time that honest nodes, and an end, may take on a busy machine, in milliseconds. */
const PATIENCE_MS = 40_000;
/** Rounds at the same time. */
const AT_ONCE = 4;

const [seed = '', ...rounds] = process.argv.slice(2);
const transport = nodeTransport({});
let peakBytes = 0;

function found(round: number, kind: string, detail: unknown): void {
  const text = detail instanceof Error ? (detail.stack ?? String(detail)) : String(detail);
  console.log(JSON.stringify({ kind, detail: text.slice(0, 2_000), round } satisfies Line));
}

// The end of its input is the end of whoever has started it.
process.stdin
  .on('end', () => process.exit(1))
  .resume()
  .unref();
process.on('unhandledRejection', (error) => found(-1, 'unhandled rejection', error));
process.on('uncaughtException', (error) => found(-1, 'uncaught exception', error));

/** @param state what to add to the finding if `act` takes too long */
async function within<T>(
  round: number,
  what: string,
  act: Promise<T>,
  state: () => string = () => '',
): Promise<T | null> {
  const over = new AbortController();
  const late = pause(PATIENCE_MS, null, { signal: over.signal }).then(
    () => {
      found(round, `${what}: not in time`, state());
      return null;
    },
    () => null,
  );
  try {
    return await Promise.race([act, late]);
  } finally {
    over.abort();
  }
}

/** Notes the attempts of one follower, and finds those that come too soon. */
class Attempts {
  readonly #round: number;
  readonly #states: string[] = [];
  #last = Number.NEGATIVE_INFINITY;

  constructor(round: number) {
    this.#round = round;
  }

  /** The last states, with their times in milliseconds. */
  get states(): string {
    return `${this.#states.slice(-20).join('\n')}\nnow ${performance.now().toFixed()}`;
  }

  note(state: { readonly kind: string; readonly detail?: string }): void {
    const now = performance.now();
    this.#states.push(`${now.toFixed()} ${state.kind} ${state.detail ?? ''}`);
    if (state.kind !== 'connecting') return;
    if (now - this.#last < MIN_GAP_MS)
      found(this.#round, 'an attempt too soon', `after ${now - this.#last} ms`);
    this.#last = now;
  }

  /** The application has asked for an attempt at once. */
  forget(): void {
    this.#last = Number.NEGATIVE_INFINITY;
  }
}

async function play(round: number, base: string): Promise<void> {
  const chance = new Chance(Number(seed) * 1_000_003 + round);
  const mayBeHalfOpen = chance.is(0.5);
  const nodes = 1 + chance.below(3);
  const token = chance.of<FollowOptions['token']>([
    undefined,
    'token',
    () => Promise.resolve('token'),
    () => (chance.is(0.3) ? Promise.reject(new Error('no session')) : 'token'),
    () => (chance.is(0.2) ? new Promise<string>(() => undefined) : 'token'),
    () => (chance.is(0.2) ? (undefined as never) : 'é→'.slice(chance.below(3))),
  ]);
  const options = {
    urls: Array.from({ length: nodes }, (_, node) => `${base}/${node}${mayBeHalfOpen ? 'h' : ''}`),
    prefix: PREFIXES,
    retryBaseMs: RETRY_BASE_MS,
    retryMaxMs: 4 * RETRY_BASE_MS,
    connectMs: 600,
    silenceMs: 600,
    token,
    ...(mayBeHalfOpen ? { transport } : {}),
  };
  const calm = Promise.withResolvers<Calm>();
  const ends = [
    followed(round, options, chance, calm.promise),
    mirrored(round, options, chance, calm.promise),
  ];
  await pause(300 + chance.below(1_200));
  calm.resolve((await (await fetch(`${base}/calm`)).json()) as Calm);
  await Promise.all(ends);
  peakBytes = Math.max(peakBytes, process.memoryUsage().rss);
}

type Options = Omit<FollowOptions, 'url' | 'urls'> & { readonly urls: readonly string[] };

/** A failure is right if every node has refused. */
async function failed(
  round: number,
  who: string,
  error: unknown,
  nodes: number,
  calm: Promise<Calm>,
): Promise<void> {
  const isRefusal = error instanceof Error && error.name === 'FollowError';
  if (!isRefusal || (await calm).refused < nodes) found(round, `${who} has failed`, error);
}

async function mirrored(round: number, options: Options, chance: Chance, calm: Promise<Calm>): Promise<void> {
  const attempts = new Attempts(round);
  const storage = chance.is(0.5) ? { storage: memoryStorage() } : {};
  const { urls } = options;
  const copy = new Mirror({ ...options, urls, ...storage });
  let isFilled = false;
  const look = (): void => {
    const shown = new Map(copy.snapshot().map(({ key, value }) => [key, value]));
    isFilled ||= shown.size > 0;
    const fault = isFilled ? faultOf(shown) : null;
    if (fault !== null) found(round, 'a mirror shows what no node had', fault);
  };
  let failure: unknown;
  copy.on('state', (state) => {
    attempts.note(state);
    look();
    if (state.kind === 'failed') failure = state.error;
  });
  copy.on('change', look);
  copy.on('storage-error', ({ error }) => found(round, 'storage', error));
  const acts = [
    () => {
      attempts.forget();
      copy.reconnect();
    },
    () => void copy.waitFor(`${'e'.repeat(40)}:${chance.below(10)}`),
    () => void copy.waitFor('nonsense'),
    () => void copy.waitFor(copy.position ?? '', { signal: AbortSignal.timeout(50) }),
    look,
  ];
  const timer = setInterval(() => chance.of(acts)(), 40);
  const { number } = await calm;
  clearInterval(timer);
  const arrived = (): boolean => failure !== undefined || copy.get(MARK) === `${number}`;
  const reached = Promise.withResolvers<void>();
  const watch = setInterval(() => arrived() && reached.resolve(), 5);
  await within(round, 'a mirror of honest nodes arrives', reached.promise, () => attempts.states);
  clearInterval(watch);
  look();
  if (failure !== undefined) await failed(round, 'a mirror', failure, urls.length, calm);
  await within(round, 'close of a mirror', copy.close());
  look();
}

async function followed(round: number, options: Options, chance: Chance, calm: Promise<Calm>): Promise<void> {
  const attempts = new Attempts(round);
  const abort = new AbortController();
  const isSlow = chance.is(0.3);
  const events = follow({
    ...options,
    queueLength: 100_000,
    signal: abort.signal,
    onConnection: (state: ConnectionState) => attempts.note(state),
  });
  let copy = new Map<string, string>();
  let next: Map<string, string> | null = null;
  const reached = Promise.withResolvers<void>();
  let number = -1;
  const reading = (async () => {
    for await (const event of events) {
      if (event.type === 'reset') next = new Map();
      else if (event.type === 'entry') next?.set(event.key, event.value);
      else {
        if (event.type === 'synced') copy = next ?? copy;
        if (event.type === 'synced' || event.type === 'continue') next = null;
        apply(copy, event);
        const fault = copy.size === 0 ? null : faultOf(copy);
        if (fault !== null)
          found(round, 'a follower is told what no node had', `${fault} ${JSON.stringify(event)}`);
      }
      if (copy.get(MARK) === `${number}`) reached.resolve();
      if (isSlow && chance.is(0.1)) await pause(5);
    }
  })();
  const failure = reading.then(
    () => null,
    async (error: unknown) => failed(round, 'a follower', error, options.urls.length, calm),
  );
  ({ number } = await calm);
  if (copy.get(MARK) === `${number}`) reached.resolve();
  const arrival = Promise.race([reached.promise, failure]);
  const state = (): string => `${faultOf(copy)} of ${number}\n${attempts.states}`;
  await within(round, 'a follower of honest nodes arrives', arrival, state);
  const end = chance.of([
    () => events.return(),
    () => events.throw(new Error('thrown in')).catch(() => undefined),
    async () => abort.abort(),
  ]);
  await within(round, 'the end of a follower', Promise.all([end(), failure]));
}

function apply(copy: Map<string, string>, event: FeedEvent): void {
  const changes: readonly FeedChange[] =
    event.type === 'batch'
      ? event.changes
      : 'key' in event || event.type === 'flush'
        ? [event as FeedChange]
        : [];
  for (const change of changes) {
    if (change.type === 'flush') copy.clear();
    else if (change.type === 'delete') copy.delete(change.key);
    else if (change.type === 'set') copy.set(change.key, change.value);
  }
}

const workers = Array.from({ length: AT_ONCE }, async () => {
  for (let next = rounds.shift(); next !== undefined; next = rounds.shift()) {
    const [round, base = ''] = next.split('=');
    await play(Number(round), base);
  }
});
await Promise.all(workers);
console.log(JSON.stringify({ kind: 'end', peakBytes } satisfies Line));
