/**
 * A round of requests: some connections at once, on each of them a pipeline of known, odd and broken requests, in pieces that
 * end anywhere. Known ones have to be answered as the model says, in their order; every answer has to be in openapi.yaml.
 */
import type { RawAnswer } from './answers.ts';
import { Chance } from './chance.ts';
import { type Expected, Model, type Operation } from './model.ts';
import { brokenRequest, knownRequest, oddRequest, type RawRequest, word } from './requests.ts';
import type { Subject } from './subject.ts';
import { Wire } from './wire.ts';

const CONNECTIONS = 4;
const MAX_REQUESTS = 25;
/** Only a hang takes so long. */
const ANSWERS_WITHIN_MS = 30_000;

/** What keys hold by the answers that were given; null: nothing. */
export type Truth = Map<string, Buffer | null>;

interface Sent {
  readonly request: RawRequest;
  /** null: an odd one. */
  readonly expected: Expected | null;
}

/**
 * @param truth what all keys of this round must be afterwards; filled here
 * @throws nothing: what is wrong is told to the subject
 */
export async function requestRound(subject: Subject, seed: number, truth: Truth): Promise<void> {
  const lines = Array.from({ length: CONNECTIONS }, (_, index) => line(subject, seed, index, truth));
  await Promise.all(lines);
}

async function line(subject: Subject, seed: number, index: number, truth: Truth): Promise<void> {
  const chance = new Chance(seed * 31 + index);
  const host = `127.0.0.1:${subject.node.port}`;
  const model = new Model();
  const prefix = `known/${seed}/${index}/`;
  const keys = Array.from({ length: 1 + chance.below(4) }, () => prefix + word(chance));
  const sent: Sent[] = Array.from({ length: 1 + chance.below(MAX_REQUESTS) }, () => {
    if (chance.is(0.25)) return { request: oddRequest(chance, host), expected: null };
    const operation = anyOperation(chance, keys);
    return { request: knownRequest(chance, host, operation), expected: model.apply(operation) };
  });
  const broken = chance.is(0.5) ? brokenRequest(chance, host) : null;
  const bytes = Buffer.concat([
    ...sent.map(({ request }) => request.bytes),
    ...(broken === null ? [] : [broken]),
  ]);

  const wire = await Wire.to(subject.node.port);
  try {
    await wire.send(chance.pieces(bytes), chance.is(0.1) ? 1 : 0);
    if (chance.is(0.3) || broken !== null) wire.endSending();
    const methods = sent.map(({ request }) => request.method);
    const answers = await wire.answers(methods, ANSWERS_WITHIN_MS);
    if (subject.hasEnded) return;
    const isKnown = judge(subject, sent, answers, `seed ${seed}, connection ${index}`);
    if (isKnown) for (const key of keys) truth.set(key, model.entries.get(key) ?? null);
  } catch (error) {
    const text = bytes.toString('latin1').slice(0, 1_000);
    if (!subject.hasEnded)
      subject.found(
        `wire: ${String(error).slice(0, 50)}`,
        `seed ${seed}, connection ${index}: ${error}\n${text}`,
      );
  } finally {
    wire.destroy();
  }
}

/** @returns false if the answers were not those of the model: then what the keys hold is not known */
function judge(
  subject: Subject,
  sent: readonly Sent[],
  answers: readonly RawAnswer[],
  where: string,
): boolean {
  for (const [at, { request, expected }] of sent.entries()) {
    const answer = answers[at];
    const shown = `${where}, request ${at}: ${request.bytes.toString('latin1').slice(0, 600)}`;
    if (answer === undefined) {
      subject.found(`no answer to ${request.method}`, shown);
      return false;
    }
    subject.check(request.method, request.path, answer, shown);
    const wrong = expected === null ? null : difference(expected, answer, request.method);
    if (wrong !== null) {
      subject.found(
        `model: ${request.method} ${answer.status}, not ${expected?.status}`,
        `${shown}\n${wrong}`,
      );
      return false;
    }
    // Behind 426 the connection is closed.
    if (answer.status === 426 && answer.isLast) return false;
    if (answer.isLast && at < sent.length - 1) {
      subject.found(
        `closed behind ${request.method} ${answer.status}`,
        `${shown}\n${answer.body.toString().slice(0, 300)}`,
      );
      return false;
    }
  }
  return true;
}

function difference(expected: Expected, answer: RawAnswer, method: string): string | null {
  if (answer.status !== expected.status)
    return `${answer.status} instead of ${expected.status}: ${answer.body.toString().slice(0, 200)}`;
  if (method === 'HEAD') return null;
  if (expected.body !== undefined && !expected.body.equals(answer.body)) {
    return `another value: ${answer.body.toString('latin1').slice(0, 200)} instead of ${expected.body.toString('latin1').slice(0, 200)}`;
  }
  const { members } = expected;
  if (members === undefined) return null;
  const said = JSON.parse(answer.body.toString()) as Record<string, unknown>;
  const wrong = Object.entries(members).find(([name, value]) => said[name] !== value);
  return wrong === undefined
    ? null
    : `${wrong[0]} is ${JSON.stringify(said[wrong[0]])} instead of ${JSON.stringify(wrong[1])}`;
}

const VALUES = [
  '',
  '0',
  '41',
  '-1',
  '9223372036854775807',
  '-0',
  '007',
  'text',
  '{}',
  '{"a":{"b":[1]}}',
  '[1]',
  '"s"',
  '\u0000\u00ff',
];

function anyOperation(chance: Chance, keys: readonly string[]): Operation {
  const key = chance.of(keys);
  const value = chance.is(0.1)
    ? chance.bytes(chance.below(100_000))
    : Buffer.from(chance.of(VALUES), 'latin1');
  switch (chance.below(12)) {
    case 0:
      return { kind: 'append', key, value: Buffer.from(chance.of(VALUES), 'latin1') };
    case 1:
    case 2:
      return { kind: 'increment', key, by: chance.below(100) - 50 };
    case 3:
      return { kind: 'patch', key, patch: { a: chance.of([null, 1, 'x']), __other: true } };
    case 4:
      return {
        kind: 'batch',
        sets: new Map(chance.some(keys, 3).map((each) => [each, chance.of(['1', 'v', '{}'])])),
        deletes: [],
      };
    case 5:
      return { kind: 'delete', key };
    case 6:
      return { kind: chance.of(['head', 'persist'] as const), key };
    case 7:
    case 8:
      return { kind: 'get', key };
    default:
      return { kind: 'put', key, value, ifAbsent: chance.is(0.2) };
  }
}
