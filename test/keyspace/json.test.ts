/**
 * The one way into JSON: what it takes is what JSON.parse takes, within its limits, with every number as it was. A failed
 * property prints its seed.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  atOnce,
  isJsonSteps,
  JsonError,
  JsonTooLarge,
  jsonSteps,
  MAX_JSON_DEPTH,
  MAX_JSON_VALUES,
  parseJson,
} from '../../src/keyspace/json/json.ts';
import { isHeldByDouble, isRawJSON } from '../../src/keyspace/json/json-number.ts';
import { JsonScanner } from '../../src/keyspace/json/json-scanner.ts';
import { compact, quoted, RawJson } from '../../src/keyspace/json/json-text.ts';
import { text as anyText } from '../support/arbitraries.ts';

const parsed = (text: string): unknown => parseJson(Buffer.from(text));

function accepts(parse: () => unknown): boolean {
  try {
    parse();
    return true;
  } catch (error) {
    if (error instanceof JsonError || error instanceof SyntaxError) return false;
    throw error;
  }
}

/** JSON in which nothing stands twice and no number needs more than a double. */
const anyJson = fc.jsonValue({ maxDepth: 6 });

test('JSON of any shape is read as JSON.parse reads it, with and without white space and a byte order mark', () => {
  fc.assert(
    fc.property(
      anyJson,
      fc.constantFrom(0, 1, '\t'),
      fc.constantFrom('', '\ufeff'),
      (value, indent, mark) => {
        const text = JSON.stringify(value, null, indent);
        // `-0` is kept as it is written, and fast-check makes some.
        assert.equal(JSON.stringify(parsed(mark + text)), JSON.stringify(value));
        assert.equal(atOnce(isJsonSteps(Buffer.from(text))), true);
      },
    ),
  );
});

test('names and strings of any characters, escaped or not, are read as JSON.parse reads them', () => {
  const escaped = (text: string): string =>
    `"${Array.from({ length: text.length }, (_, at) => `\\u${text.charCodeAt(at).toString(16).padStart(4, '0')}`).join('')}"`;
  fc.assert(
    fc.property(anyText(0, 20), anyText(0, 20), fc.boolean(), (name, value, isEscaped) => {
      const write = isEscaped ? escaped : JSON.stringify;
      assert.deepEqual(
        parsed(`{${write(name)}:${write(value)}}`),
        JSON.parse(`{${write(name)}:${write(value)}}`),
      );
    }),
  );
  assert.equal(parsed(String.raw`"\"\\\/\b\f\n\r\t\ud83d\ude00\ud800"`), '"\\/\b\f\n\r\t\u{1f600}\ud800');
});

/** @returns the message of the JsonError that it throws; null: none */
function refusal(parse: () => unknown): string | null {
  try {
    parse();
    return null;
  } catch (error) {
    if (error instanceof JsonError) return error.message;
    throw error;
  }
}

test('what JSON.parse refuses is refused, wherever one character of JSON is replaced, left out or added', () => {
  const characters = fc.constantFrom(...'[]{},:"\\-+.eE01 \n\t\0\u00a0\ufeffntux\'/');
  fc.assert(
    fc.property(anyJson, fc.nat(), fc.nat(2), characters, (value, place, length, character) => {
      const text = JSON.stringify(value, null, 1);
      const at = place % (text.length + 1);
      const changed = text.slice(0, at) + character + text.slice(at + length);
      const expected = accepts(() => JSON.parse(changed.startsWith('\ufeff') ? changed.slice(1) : changed));
      const bytes = Buffer.from(changed);
      assert.equal(atOnce(isJsonSteps(bytes)), expected, changed);
      // What is made of it has one rule more, and that may be broken before the rest is read.
      const refused = refusal(() => parseJson(bytes));
      if (refused === null || !/stands twice/.test(refused))
        assert.equal(refused === null, expected, changed);
    }),
    { numRuns: 2_000 },
  );
});

for (const [what, text, detail] of [
  ['nothing', '', 'a value was expected, and it ends'],
  ['white space', ' \n', 'a value was expected, and it ends'],
  ['a word', 'undefined', 'a value was expected, not "u"'],
  ['a character beyond ASCII', 'é', 'a value was expected, not "é"'],
  ['single quotes', "{'a':1}", `the name of a member in double quotes was expected, not "'"`],
  ['a comma at the end of an array', '[1,]', 'a value was expected, not "]"'],
  [
    'a comma at the end of an object',
    '{"a":1,}',
    'the name of a member in double quotes was expected, not "}"',
  ],
  ['a missing colon', '{"a" 1}', 'a colon was expected, not "1"'],
  ['a missing comma', '[1 2]', 'a comma or a bracket was expected, not "2"'],
  ['the wrong bracket', '[1}', 'a comma or a bracket was expected, not "}"'],
  ['more behind it', '1 2', 'the end was expected, not "2"'],
  ['a string without an end', '"abc', 'a string does not end'],
  ['a line break in a string', '"a\nb"', 'a control character in a string is not escaped'],
  ['a foreign escape', '"\\x41"', 'an escape is not one of JSON'],
  ['half an escape', '"\\u12"', 'an escape is not one of JSON'],
  ['a plus', '+1', 'a value was expected, not "+"'],
  ['a point without digits', '1.', 'a number is not one of JSON'],
  ['a leading zero', '01', 'the end was expected, not "1"'],
  ['a member that stands twice', '{"a":1,"a":2}', 'a member named "a" stands twice'],
  ['129 levels', '['.repeat(129), 'it is nested more than 128 levels'],
] as const) {
  test(`${what} is refused in plain English`, () => {
    assert.throws(() => parsed(text), { name: 'JsonError', message: detail });
  });
}

test('bytes that are not UTF-8 are refused', () => {
  assert.throws(() => parseJson(Buffer.from([0x22, 0xff, 0x22])), { message: 'it is not UTF-8' });
  // A surrogate in UTF-8.
  assert.throws(() => parseJson(Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22])), JsonError);
});

test('__proto__ is a member like others', () => {
  const object = parsed('{"__proto__":{"polluted":true},"constructor":1}') as object;
  assert.deepEqual(Object.keys(object), ['__proto__', 'constructor']);
  assert.equal(Object.getPrototypeOf(object), Object.prototype);
  assert.equal((object as { polluted?: boolean }).polluted, undefined);
});

test('128 levels of any brackets are fine, and 129 are refused, whether something is made of it or not', () => {
  const brackets = fc.array(fc.boolean(), { minLength: MAX_JSON_DEPTH - 2, maxLength: MAX_JSON_DEPTH + 2 });
  fc.assert(
    fc.property(brackets, (areObjects) => {
      const text =
        areObjects.map((isObject) => (isObject ? '{"a":' : '[')).join('') +
        '1' +
        areObjects
          .map((isObject) => (isObject ? '}' : ']'))
          .reverse()
          .join('');
      const isFine = areObjects.length <= MAX_JSON_DEPTH;
      assert.equal(
        accepts(() => parsed(text)),
        isFine,
      );
      assert.equal(atOnce(isJsonSteps(Buffer.from(text))), isFine);
    }),
  );
});

test('200,000 values are fine, and one more is refused; what stays text counts as one', () => {
  const array = (values: number): Buffer => Buffer.from(`[${'0,'.repeat(values - 2)}0]`);
  assert.equal((parseJson(array(MAX_JSON_VALUES)) as unknown[]).length, MAX_JSON_VALUES - 1);
  assert.throws(() => parseJson(array(MAX_JSON_VALUES + 1)), JsonTooLarge);
  const text = parseJson(array(MAX_JSON_VALUES + 1), (depth) => depth === 0);
  assert.ok(text instanceof RawJson);
});

/** Numbers as JSON may spell them. */
const digits = (minLength: number, maxLength: number): fc.Arbitrary<string> =>
  fc.array(fc.constantFrom(...'0123456789'), { minLength, maxLength }).map((all) => all.join(''));
const anyNumber = fc
  .tuple(
    fc.constantFrom('', '-'),
    fc.oneof(
      fc.constant('0'),
      digits(1, 25).map((text) => text.replace(/^0+/, '') || '0'),
    ),
    fc.oneof(
      fc.constant(''),
      digits(1, 25).map((text) => `.${text}`),
    ),
    fc.oneof(
      fc.constant(''),
      fc
        .tuple(fc.constantFrom('e', 'E', 'e+', 'e-'), fc.oneof(digits(1, 2), digits(3, 5)))
        .map((parts) => parts.join('')),
    ),
  )
  .map((parts) => parts.join(''));

/** The number as a fraction: exact. */
function decimalOf(text: string): { readonly digits: bigint; readonly exponent: bigint } {
  const [, sign = '', whole = '', fraction = '', power = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? [];
  let all = BigInt(sign + whole + fraction);
  let exponent = BigInt(power.replace('+', '')) - BigInt(fraction.length);
  while (all !== 0n && all % 10n === 0n) {
    all /= 10n;
    exponent += 1n;
  }
  return { digits: all, exponent: all === 0n ? 0n : exponent };
}

test('a number in any spelling is the same number when it is written out again', () => {
  fc.assert(
    fc.property(
      fc.oneof(anyNumber, fc.double({ noNaN: true, noDefaultInfinity: true }).map(String)),
      (text) => {
        const value = parsed(text);
        const written = JSON.stringify(value);
        assert.deepEqual(decimalOf(written), decimalOf(text));
        // A double that would write the same number is preferred to text.
        const same = Number.isFinite(Number(text)) && decimalOf(String(Number(text)));
        const isZeroWithSign = text.startsWith('-') && decimalOf(text).digits === 0n;
        const isHeld =
          same !== false &&
          same.digits === decimalOf(text).digits &&
          same.exponent === decimalOf(text).exponent;
        assert.equal(typeof value === 'number', isHeld && !isZeroWithSign, text);
      },
    ),
    { numRuns: 5_000 },
  );
});

for (const text of [
  '0',
  '1.0',
  '1e2',
  '0.1',
  '1E+2',
  '100000000000000000000',
  '1e21',
  '5e-324',
  '9007199254740992',
  '1.7976931348623157e308',
  '0e999999',
]) {
  test(`${text} is held by a double`, () => assert.ok(isHeldByDouble(text)));
}

for (const text of [
  '-0',
  '-0.0',
  '-0e5',
  '1e400',
  '1e-400',
  '9007199254740993',
  '99999999.99999999999',
  '0.1000000000000000055',
  '4e-324',
  '12345678901234567890',
]) {
  test(`${text} is kept as it is written`, () => {
    const value = parsed(text);
    assert.ok(isRawJSON(value));
    assert.equal(JSON.stringify([value]), `[${text}]`);
  });
}

test('text without white space keeps every token as it is written', () => {
  fc.assert(
    fc.property(anyJson, fc.constantFrom(0, 1, '\t'), (value, indent) => {
      const raw = parseJson(Buffer.from(` ${JSON.stringify(value, null, indent)} `), () => true) as RawJson;
      assert.equal(compact(raw).toString(), JSON.stringify(value));
    }),
  );
  const raw = parseJson(
    Buffer.from(String.raw`{ "a \" b\\" : [ 1.50 , " \u0061 " ] }`),
    () => true,
  ) as RawJson;
  assert.equal(compact(raw).toString(), String.raw`{"a \" b\\":[1.50," \u0061 "]}`);
});

test('quoted text is what JSON.stringify writes, also of long text with characters of two halves', () => {
  for (const unit of ['a', '\u0001', '"', 'é', '\u{1f600}', 'x\u{1f600}', '\ud800']) {
    const long = unit.repeat(200_000);
    assert.equal(quoted(long), JSON.stringify(long));
  }
});

/** Texts that are as much work as there can be, of about this many bytes. */
const COSTLY: Readonly<Record<string, (bytes: number) => string>> = {
  'numbers of one digit': (bytes) => `[${'1,'.repeat(bytes / 2)}1]`,
  'empty objects': (bytes) => `[${'{},'.repeat(bytes / 3)}{}]`,
  'one number': (bytes) => '1'.repeat(bytes),
  'one number with an exponent': (bytes) => `1e${'1'.repeat(bytes)}`,
  'one number with a fraction': (bytes) => `0.${'0'.repeat(bytes)}1`,
  'one string of escapes': (bytes) => `"${'\\u0001'.repeat(bytes / 6)}"`,
  'a string that does not end': (bytes) => `"${'a'.repeat(bytes)}`,
  'strings of backslashes': (bytes) => `["${'\\\\'.repeat(bytes / 2)}"]`,
  'white space': (bytes) => ' '.repeat(bytes),
  brackets: (bytes) => '[['.repeat(bytes / 2),
  'names with escapes': (bytes) => `{${'"\\u0061":0,'.repeat(bytes / 11)}"b":0}`,
};

test('reading any text takes steps in proportion to its length, each of which moves on', () => {
  for (const [what, text] of Object.entries(COSTLY)) {
    const bytes = Buffer.from(text(2 ** 20));
    const scanner = new JsonScanner(bytes);
    let steps = 0;
    try {
      for (let before = -1; !scanner.skip(); before = scanner.at) {
        assert.ok(scanner.at > before, what);
        steps += 1;
      }
    } catch (error) {
      assert.ok(error instanceof JsonError, what);
    }
    assert.ok(steps <= 16, `${what}: ${steps} steps`);
  }
});

test('making values of a text yields often: no step makes more than a thousand values', () => {
  const steps = jsonSteps(Buffer.from(`[${'[0,0],'.repeat(50_000)}0]`));
  let count = 0;
  while (steps.next().done !== true) count += 1;
  assert.ok(count >= 149, `${count}`);
});
