/** What a hostile node says on one connection: an honest beginning, and then something else. */
import { set } from '../../support/feed-model.ts';
import type { Chance } from '../chance.ts';
import { FOREIGN, MARK, POISON, type Truth } from './whole.ts';

export type Word =
  /** A message of text: an event, or anything. */
  | object
  | string
  | { readonly binary: Buffer }
  /** Bytes on the socket, past the WebSocket. */
  | { readonly raw: Buffer }
  | { readonly close: number }
  | 'cut'
  /** Takes nothing any more, not even a close frame, and keeps the connection. */
  | 'half-open'
  | { readonly pauseMs: number };

const CODES = [1000, 1001, 1011, 1012, 1013, 3000, 4000, 4408, 4413, 4429, 4503, 4999];
export const REFUSALS = [4400, 4401, 4403, 4409, 4499];
/** Number of messages in a flood. */
const FLOOD = 2_000;
const ELSEWHERE = 'f'.repeat(40);

/** @param mayRefuse whether the node may say that it never serves the request */
export function lies(
  chance: Chance,
  truth: Truth,
  position: string | undefined,
  mayRefuse: boolean,
): readonly Word[] {
  const honest: readonly Word[] = truth.model.from(position);
  const some = honest.slice(0, chance.below(honest.length + 1));
  const repeated = some.flatMap((word) => (chance.is(0.2) ? [word, word] : [word]));
  const beginning = chance.of([[], some, some, repeated, honest, honest]);
  const lie = chance.of(beginning === honest ? [...LIES, ...CONTINUATIONS, ...CONTINUATIONS] : LIES);
  return [...beginning, ...lie(chance, truth), ...end(chance, mayRefuse)];
}

function end(chance: Chance, mayRefuse: boolean): readonly Word[] {
  const code = chance.of(mayRefuse && chance.is(0.5) ? REFUSALS : CODES);
  const error = {
    type: 'error',
    code: 'HOSTILE',
    detail: 'no',
    position: `${ELSEWHERE}:${chance.below(99)}`,
  };
  return chance.of<readonly Word[]>([
    [],
    ['cut'],
    ['half-open'],
    [{ pauseMs: chance.below(100) }, 'cut'],
    [{ close: code }],
    [error, { close: code }],
  ]);
}

type Lie = (chance: Chance, truth: Truth) => readonly Word[];

const LIES: readonly Lie[] = [
  () => [],
  // What is malformed, beside poison that is not.
  (chance, truth) => [malformed(chance, truth)],
  (_chance, truth) => [{ ...poison(truth), position: 'nonsense' }],
  // A history that nobody has asked for. Its offsets go back.
  (_chance, truth) => [{ ...poison(truth), position: `${ELSEWHERE}:1` }],
  (_chance, truth) => [
    { type: 'continue', position: `${ELSEWHERE}:1`, head: `${ELSEWHERE}:9` },
    { ...poison(truth), position: `${ELSEWHERE}:9` },
  ],
  // Snapshots that never become whole.
  (chance, truth) => [reset(truth), ...poisons(chance.below(9))],
  (chance, truth) => [
    reset(truth),
    ...poisons(chance.below(9)),
    { type: 'synced', position: `${ELSEWHERE}:1` },
  ],
  (_chance, truth) => [reset(truth), ...poisons(2), { type: 'bookmark', position: truth.model.position }],
  (_chance, truth) => [reset(truth), ...poisons(1), { type: 'waiting' }, ...poisons(1), synced(truth)],
  (_chance, truth) => [reset(truth), ...poisons(FLOOD), synced(truth)],
  // Numbers of entries that no node has.
  (chance, truth) => [
    { ...reset(truth), keys: chance.of([1e15, 2 ** 53, 0.5, -1, null]) },
    ...poisons(9),
    synced(truth),
  ],
  // Keys that nobody has asked for, in a snapshot that is right otherwise.
  (chance, truth) => {
    const words: Word[] = [...truth.model.snapshot('forced')];
    words.splice(1 + chance.below(words.length - 1), 0, { ...set(FOREIGN, 'x', 1), type: 'entry' });
    return words;
  },
  // Snapshots that begin and never end.
  (chance, truth) => Array.from({ length: 300 }, () => [reset(truth), ...poisons(chance.below(9))]).flat(),
  // A snapshot instead of one that has begun.
  (_chance, truth) => [reset(truth), ...poisons(3), ...truth.model.snapshot('forced')],
  // Positions that jump.
  (_chance, truth) => [{ type: 'bookmark', position: jumped(truth, 1_000_000) }],
  (_chance, truth) => [{ type: 'bookmark', position: jumped(truth, -1) }],
  // Floods of nothing.
  (chance) => Array(chance.below(FLOOD)).fill({ type: 'weather', sunny: true }),
  (chance) => Array(chance.below(FLOOD)).fill({ type: 'expiring', expiresAt: 1 }),
  (chance) => Array(chance.below(FLOOD)).fill({ type: 'waiting' }),
  (chance) => Array(chance.below(FLOOD)).fill({ type: 'error', code: 'SOON', detail: 'really' }),
  (_chance, truth) => Array(50).fill(reset(truth)),
  // No WebSocket any more.
  (chance) => [{ raw: chance.bytes(chance.below(200)) }],
  (chance) => [{ raw: Buffer.concat([Buffer.from([0x81, 0x7f]), chance.bytes(8)]) }],
  () => [{ raw: Buffer.from([0x81, 0x02, 0xff, 0xfe]) }],
  () => [{ raw: Buffer.from([0xc1, 0x00]) }],
];

/** What may follow only what is whole: whoever lacks something could not tell. */
const CONTINUATIONS: readonly Lie[] = [
  (chance, truth) => [foreign(chance, truth)],
  (_chance, truth) => Array(FLOOD).fill({ type: 'bookmark', position: truth.model.position }),
  (chance, truth) => [{ pauseMs: chance.below(300) }, truth.write()],
  (_chance, truth) => [truth.write(), truth.write()],
  (_chance, truth) => Array.from({ length: 500 }, () => truth.write()),
];

function malformed(chance: Chance, truth: Truth): Word {
  const { position } = truth.model;
  const bad = chance.of<unknown>([
    { type: 'set', key: POISON, value: '!', encoding: 'base64', version: 1, expiresAt: null },
    { type: 'set', key: POISON, value: 7, encoding: 'utf8', version: 1, expiresAt: null },
    { type: 'rename', key: POISON },
    { type: 'delete' },
    null,
    [],
    {},
  ]);
  const all = chance.of<readonly unknown[]>([
    [bad],
    [set(POISON, 'x', 1), bad],
    [bad, set(MARK, '-1', 1)],
    [{ type: 'flush' }, bad],
  ]);
  const deep = `{"type":"batch","changes":${'['.repeat(100_000)}`;
  return chance.of<Word>([
    { type: 'batch', changes: all, position: jumped(truth, 10) },
    { type: 'batch', changes: 'all', position },
    { type: 'reset', position, reason: 7 },
    { type: 'reset', position, reason: 'forced', keys: -0.5 },
    { type: 7 },
    { position },
    { binary: chance.bytes(20) },
    { binary: Buffer.from(JSON.stringify(poison(truth))) },
    JSON.stringify(poison(truth)).slice(0, -1),
    deep,
    'x'.repeat(1_000_000),
    'null',
    '[]',
    '"set"',
    '',
    '<!doctype html><html></html>',
  ]);
}

/** @returns a change of a key that nobody has asked for, and that nobody has made */
function foreign(chance: Chance, truth: Truth): Word {
  const change = set(FOREIGN, 'x', 1);
  const position = jumped(truth, 1);
  return chance.of<Word>([
    { ...change, position },
    { type: 'batch', changes: [change], position },
    { type: 'batch', changes: [set(POISON, 'x', 1), change], position },
    { type: 'batch', changes: [change, { type: 'flush' }], position },
  ]);
}

/** @returns a change that nobody has made, without a position */
function poison(truth: Truth): object {
  return set(POISON, `${truth.number}`, 1);
}

function poisons(count: number): readonly object[] {
  return Array.from({ length: count }, (_, index) => ({
    ...set(`${POISON}${index}`, 'x', 1),
    type: 'entry',
  }));
}

function reset({ model }: Truth): object {
  return { type: 'reset', position: model.position, reason: 'forced', keys: 2 };
}

function synced({ model }: Truth): object {
  return { type: 'synced', position: model.position };
}

function jumped({ model }: Truth, by: number): string {
  const [runId, offset] = model.position.split(':');
  return `${runId}:${Number(offset) + by}`;
}
