import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { type Command, MAX_KEY_BYTES, MAX_VALUE_BYTES, type Run } from '../../src/stream/command.ts';
import { MAX_TRANSACTION_COMMANDS, STREAM_LIMITS, StreamDecoder } from '../../src/stream/decoder.ts';
import { array, Encoder } from '../../src/stream/encoder.ts';
import { ProtocolError } from '../../src/stream/protocol-error.ts';
import { RespParser } from '../../src/stream/resp-parser.ts';
import { anyCommand, anyCuts, anyKey, cutAt, everySplit } from '../support/arbitraries.ts';

const WIRE: readonly (readonly [Command, string])[] = [
  [set('k', 'v'), '*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n'],
  [set('é', ''), '*3\r\n$3\r\nSET\r\n$2\r\né\r\n$0\r\n\r\n'],
  [
    set('k', '\r\n', 1700000000000),
    '*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\n$4\r\nPXAT\r\n$13\r\n1700000000000\r\n',
  ],
  [{ kind: 'del', keys: ['a', '\u{1f600}'] }, '*3\r\n$3\r\nDEL\r\n$1\r\na\r\n$4\r\n\u{1f600}\r\n'],
  [{ kind: 'expire-at', key: 'k', expiresAt: 0 }, '*3\r\n$9\r\nPEXPIREAT\r\n$1\r\nk\r\n$1\r\n0\r\n'],
  [{ kind: 'persist', key: '\ufffd' }, '*2\r\n$7\r\nPERSIST\r\n$3\r\n\ufffd\r\n'],
  [{ kind: 'flush-all' }, '*1\r\n$8\r\nFLUSHALL\r\n'],
];

for (const [command, wire] of WIRE) {
  test(`${JSON.stringify(wire)} is ${command.kind}, on the way out and on the way in`, () => {
    assert.equal(encode([command]).bytes.toString('utf8'), wire);
    assert.deepEqual(new StreamDecoder().push(Buffer.from(wire))?.commands, [command]);
  });
}

test('names are read without regard to case, as Redis reads them', () => {
  const wire = '*5\r\n$3\r\nsEt\r\n$1\r\nk\r\n$1\r\nv\r\n$4\r\npxat\r\n$1\r\n7\r\n';
  assert.deepEqual(new StreamDecoder().push(Buffer.from(wire))?.commands, [set('k', 'v', 7)]);
});

test('PING is counted and does nothing', () => {
  const bytes = Buffer.from('*1\r\n$4\r\nPING\r\n');
  assert.deepEqual(new StreamDecoder().push(bytes), {
    bytes,
    commands: [],
    ends: [],
    boundaries: [bytes.length],
  });
});

/** Keys, values and times at the limits and beyond them. */
const doubtfulKey = fc.oneof(
  anyKey,
  fc.constantFrom('', '\ud800', 'a\udc00', '\ud800\udc00', '\ufffd'),
  fc.integer({ min: MAX_KEY_BYTES - 2, max: MAX_KEY_BYTES + 2 }).map((size) => 'k'.repeat(size)),
  fc.integer({ min: MAX_KEY_BYTES / 2 - 1, max: MAX_KEY_BYTES / 2 + 1 }).map((size) => 'é'.repeat(size)),
);
const doubtfulTime = fc.oneof(
  fc.double(),
  fc.integer(),
  fc.constantFrom(-96_287_990_370, -1, -0, 0, 0.5, 2 ** 53 - 1, 2 ** 53, 1e21, -Infinity, Infinity, NaN),
);

test('every command is decoded as it was encoded, or refused before it is encoded', () => {
  const doubtful = fc.oneof(
    anyCommand(doubtfulKey, doubtfulTime),
    fc.constantFrom<Command>(
      { kind: 'del', keys: [] },
      { kind: 'del', keys: Array<string>(STREAM_LIMITS.maxElements - 1).fill('k') },
      { kind: 'del', keys: Array<string>(STREAM_LIMITS.maxElements).fill('k') },
      { kind: 'set', key: 'k', value: Buffer.alloc(MAX_VALUE_BYTES + 1), expiresAt: null },
    ),
  );
  fc.assert(
    fc.property(doubtful, anyCommand(anyKey), (command, next) => {
      const encoder = new Encoder();
      let isTaken = true;
      try {
        encoder.add(command);
      } catch (error) {
        assert.ok(error instanceof RangeError);
        assert.equal(encoder.length, 0);
        isTaken = false;
      }
      encoder.add(next);
      const read = new StreamDecoder().push(encoder.finish().bytes)?.commands;
      assert.equal(JSON.stringify(read), JSON.stringify(isTaken ? [command, next] : [next]));
    }),
    { numRuns: 1_000 },
  );
});

/** What may stand between two boundaries. */
interface Group {
  readonly bytes: Buffer;
  readonly commands: readonly Command[];
  /** Where each command ends, counted from the group's first byte. */
  readonly ends: readonly number[];
  /** Where a position may stop; absent: only at its end. */
  readonly boundaries?: readonly number[];
}

const PING: Group = { bytes: Buffer.from(array(['PING'])), commands: [], ends: [] };

function plain(command: Command): Group {
  return encode([command]);
}

function transaction(commands: readonly Command[]): Group {
  const inner = encode(commands);
  const multi = Buffer.from(array(['MULTI']));
  return {
    bytes: Buffer.concat([multi, inner.bytes, Buffer.from(array(['EXEC']))]),
    commands,
    ends: inner.ends.map((end) => multi.length + end),
  };
}

const SAMPLE: readonly Group[] = [
  plain(set('a', 'one')),
  transaction([set('\u{1f600}', '*1\r\n$4\r\nEXEC\r\n'), { kind: 'del', keys: ['a', 'b', 'é'] }]),
  PING,
  transaction([]),
  plain(set('t', '\r\n\r\n', Number.MAX_SAFE_INTEGER)),
  plain({ kind: 'expire-at', key: 't', expiresAt: 1 }),
  plain({ kind: 'persist', key: 't' }),
  transaction([{ kind: 'flush-all' }]),
  plain({ kind: 'flush-all' }),
];

const anyGroup: fc.Arbitrary<Group> = fc.oneof(
  { weight: 4, arbitrary: anyCommand(anyKey).map(plain) },
  { weight: 1, arbitrary: fc.constant(PING) },
  { weight: 2, arbitrary: fc.array(anyCommand(anyKey), { maxLength: 4 }).map(transaction) },
);

/** After every piece, exactly the groups that are complete have been handed out, and the rest is held. */
function assertDecodes(groups: readonly Group[], pieces: readonly Buffer[]): void {
  const decoder = new StreamDecoder();
  const runs: Run[] = [];
  let pushed = 0;
  let handedOut = 0;
  for (const piece of pieces) {
    pushed += piece.length;
    const run = decoder.push(piece);
    if (run !== null) runs.push(run);
    handedOut += run?.bytes.length ?? 0;
    assert.equal(handedOut, expectedAfter(groups, pushed).bytes.length, `after ${pushed} bytes`);
    assert.equal(decoder.heldBytes, pushed - handedOut);
  }
  assert.deepEqual(joined(runs), expectedAfter(groups, pushed));
}

function expectedAfter(groups: readonly Group[], bytes: number): Run {
  let length = 0;
  const complete = groups.filter((group) => {
    length += group.bytes.length;
    return length <= bytes;
  });
  return joined(complete);
}

function joined(parts: readonly Group[]): Run {
  let from = 0;
  const ends: number[] = [];
  const boundaries: number[] = [];
  for (const part of parts) {
    ends.push(...part.ends.map((end) => from + end));
    boundaries.push(...(part.boundaries ?? [part.bytes.length]).map((boundary) => from + boundary));
    from += part.bytes.length;
  }
  return {
    bytes: Buffer.concat(parts.map((part) => part.bytes)),
    commands: parts.flatMap((part) => part.commands),
    ends,
    boundaries,
  };
}

test('a stream cut at any byte decodes to the same commands, and a transaction comes whole or not at all', () => {
  for (const pieces of everySplit(joined(SAMPLE).bytes)) assertDecodes(SAMPLE, pieces);
});

test('any stream in any pieces, cut off anywhere, decodes to what was encoded', () => {
  fc.assert(
    fc.property(
      fc.array(anyGroup, { maxLength: 8 }),
      anyCuts,
      fc.nat(),
      fc.boolean(),
      (groups, cuts, cutOff, copied) => {
        const { bytes } = joined(groups);
        const received = bytes.subarray(0, bytes.length - (cutOff % (bytes.length + 1)));
        const pieces = cutAt(received, cuts);
        assertDecodes(groups, copied ? pieces.map((piece) => Buffer.from(piece)) : pieces);
      },
    ),
  );
});

/** Four pieces of 15, 23, 23 and 14 bytes: [which memory, at which byte] each of them lies. */
const LAYOUTS: readonly (readonly [name: string, ...places: (readonly [number, number])[]])[] = [
  ['one after the other', [0, 0], [0, 15], [0, 38], [0, 61]],
  ['in one memory, the second after the third', [0, 0], [0, 38], [0, 15], [0, 61]],
  ['in one memory, with gaps', [0, 0], [0, 16], [0, 40], [0, 80]],
  ['in two memories, at places that would fit together', [0, 0], [1, 15], [0, 38], [0, 61]],
];

for (const [name, ...places] of LAYOUTS) {
  test(`a transaction whose pieces lie ${name} has its bytes in the order in which they came`, () => {
    const wires = [['MULTI'], ['DEL', 'aaaa'], ['DEL', 'bbbb'], ['EXEC']].map((words) => array(words));
    const memories = [Buffer.alloc(100), Buffer.alloc(100)];
    const decoder = new StreamDecoder();
    const runs = places.map(([memory, at], index) => {
      const wire = wires[index] as string;
      const piece = (memories[memory] as Buffer).subarray(at, at + wire.length);
      piece.write(wire);
      return decoder.push(piece);
    });
    assert.deepEqual(runs.at(-1)?.bytes.toString(), wires.join(''));
  });
}

test('encoding says at once where each command ends, and its values lie in its own bytes', () => {
  fc.assert(
    fc.property(fc.array(anyCommand(anyKey), { maxLength: 6 }), (commands) => {
      const encoder = new Encoder();
      const ends = commands.map((command) => encoder.add(command));
      assert.equal(encoder.length, ends.at(-1) ?? 0);
      const run = encoder.finish();
      assert.deepEqual(run, { ...joined(commands.map(plain)), commands, ends });
      for (const command of run.commands) {
        if (command.kind === 'set') assert.equal(command.value.buffer, run.bytes.buffer);
      }
    }),
  );
});

test('a transaction is encoded as MULTI, its commands, EXEC; what is rolled back leaves nothing behind', () => {
  const someCommands = fc.array(anyCommand(anyKey), { maxLength: 3 });
  fc.assert(
    fc.property(someCommands, someCommands, someCommands, (before, inside, undone) => {
      const encoder = new Encoder();
      for (const command of before) encoder.add(command);
      const mark = encoder.mark();
      encoder.beginTransaction();
      for (const command of undone) encoder.add(command);
      encoder.rollback(mark);
      encoder.beginTransaction();
      for (const command of inside) encoder.add(command);
      encoder.endTransaction();
      assert.deepEqual(encoder.finish(), joined([...before.map(plain), transaction(inside)]));
    }),
  );
});

test('a value of 4 MiB that arrives in 1,000 pieces decodes', () => {
  const value = Buffer.alloc(4 * 1024 * 1024, '0123456789\r\n');
  const { bytes } = encode([{ kind: 'set', key: 'large', value, expiresAt: null }]);
  const size = Math.ceil(bytes.length / 1_000);
  const decoder = new StreamDecoder();
  for (let at = 0; at < bytes.length - size; at += size) {
    assert.equal(decoder.push(bytes.subarray(at, at + size)), null);
  }
  const run = decoder.push(bytes.subarray(size * 999));
  // Not deepEqual: a failure would print 4 MiB twice.
  assert.ok(run?.bytes.equals(bytes));
  const [command] = run?.commands ?? [];
  assert.ok(command?.kind === 'set' && command.value.equals(value));
});

const MALFORMED: readonly (readonly [what: string, bytes: string | Buffer])[] = [
  ['an inline command', 'PING\r\n'],
  ['an empty line', '\r\n'],
  ['a bulk string outside an array', '$4\r\nPING\r\n'],
  ['an integer in an array', '*1\r\n:1\r\n'],
  ['an array in an array', '*1\r\n*1\r\n$4\r\nPING\r\n'],
  ['an array of 0 elements', '*0\r\n'],
  ['an array of -1 elements', '*-1\r\n'],
  ['an array of 65,537 elements', '*65537\r\n'],
  ['an array without a count', '*\r\n'],
  ['a count that is no number', '*1x\r\n'],
  ['a count with a sign', '*+1\r\n'],
  ['a count of eleven digits', '*00000000001\r\n'],
  ['a count followed by CR without LF', '*1\rx$4\r\nPING\r\n'],
  ['a count followed by LF alone', '*1\n$4\r\nPING\r\n'],
  ['a string of -1 bytes', '*1\r\n$-1\r\n'],
  ['a count with a zero in front', '*01\r\n$4\r\nPING\r\n'],
  ['a length with a zero in front', '*1\r\n$04\r\nPING\r\n'],
  ['PXAT with a zero in front', array(['SET', 'k', 'v', 'PXAT', '010'])],
  ['a string of 64 MiB and one byte', '*1\r\n$67108865\r\n'],
  ['a string of 10^11 bytes', '*1\r\n$99999999999\r\n'],
  ['a string without a length', '*1\r\n$\r\n'],
  ['a string longer than announced', '*1\r\n$4\r\nPINGS\r\n'],
  ['a string shorter than announced', '*1\r\n$4\r\nPIN\r\n*1\r\n'],
  ['a string followed by CR without LF', '*1\r\n$4\r\nPING\rx'],
  ['a string followed by LF without CR', '*1\r\n$4\r\nPINGx\n'],
  ['a command that is no effect', '*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n'],
  ['a command without a name', '*1\r\n$0\r\n\r\n'],
  ['EXEC without MULTI', array(['EXEC'])],
  ['MULTI inside MULTI', array(['MULTI']) + array(['MULTI'])],
  ['EXEC twice', array(['MULTI']) + array(['EXEC']) + array(['EXEC'])],
  ['MULTI with an argument', array(['MULTI', '1'])],
  ['an unknown command inside MULTI', array(['MULTI']) + array(['INCR', 'k'])],
  ['SET without a value', array(['SET', 'k'])],
  ['SET with an option but no argument', array(['SET', 'k', 'v', 'PXAT'])],
  ['SET with EX', array(['SET', 'k', 'v', 'EX', '10'])],
  ['SET with more after PXAT', array(['SET', 'k', 'v', 'PXAT', '10', 'NX'])],
  ['PXAT that is no number', array(['SET', 'k', 'v', 'PXAT', 'soon'])],
  ['PXAT that is empty', array(['SET', 'k', 'v', 'PXAT', ''])],
  ['PXAT with a sign', array(['SET', 'k', 'v', 'PXAT', '-1'])],
  ['PXAT with a fraction', array(['SET', 'k', 'v', 'PXAT', '1.5'])],
  ['PXAT in hexadecimal', array(['SET', 'k', 'v', 'PXAT', '0x10'])],
  ['PXAT of 2^53', array(['SET', 'k', 'v', 'PXAT', '9007199254740992'])],
  ['DEL without a key', array(['DEL'])],
  ['PEXPIREAT without a time', array(['PEXPIREAT', 'k'])],
  ['PEXPIREAT with an option', array(['PEXPIREAT', 'k', '10', 'NX'])],
  ['PERSIST of two keys', array(['PERSIST', 'a', 'b'])],
  ['FLUSHALL ASYNC', array(['FLUSHALL', 'ASYNC'])],
  ['PING with a message', array(['PING', 'hi'])],
  ['an empty key', Buffer.from('*2\r\n$3\r\nDEL\r\n$0\r\n\r\n')],
  ['a key that no request can have', Buffer.from(array(['DEL', 'k'.repeat(MAX_KEY_BYTES + 1)]))],
  ['a key that is not UTF-8', Buffer.from('*2\r\n$3\r\nDEL\r\n$2\r\na\xff\r\n', 'latin1')],
  ['a key with half of a surrogate pair', Buffer.from('*2\r\n$3\r\nDEL\r\n$3\r\n\xed\xa0\xbd\r\n', 'latin1')],
];

for (const [what, wire] of MALFORMED) {
  test(`${what} is refused, however it is cut`, () => {
    for (const pieces of everySplit(Buffer.from(wire as string))) {
      const decoder = new StreamDecoder();
      assert.throws(() => {
        for (const piece of pieces) decoder.push(piece);
      }, ProtocolError);
    }
  });
}

test('a refusal says what is wrong, and quotes no byte of the stream', () => {
  const secret = 'hunter2';
  const wires = [
    `${secret}\r\n`,
    `*1\r\n${secret}\r\n`,
    `*${secret}\r\n`,
    `*1\r\n$3\r\nSET${secret}\r\n`,
    array([secret, 'k']),
    array([secret.repeat(10), 'k']),
    array(['SET', 'k', 'v', secret, '1']),
    array(['SET', 'k', 'v', 'PXAT', secret]),
    array(['PEXPIREAT', 'k', secret]),
    array(['PING', secret]),
    array(['EXEC', secret]),
    array(['MULTI']) + array([secret]),
  ];
  const first = secret.charCodeAt(0).toString(16);
  for (const wire of wires) {
    assert.throws(
      () => new StreamDecoder().push(Buffer.from(wire)),
      (error: unknown) => {
        assert.ok(error instanceof ProtocolError, wire);
        assert.doesNotMatch(error.message, new RegExp(`${secret}|0x${first}`, 'i'), wire);
        return true;
      },
    );
  }
});

test('the limit applies to each transaction, not to all together', () => {
  const decoder = new StreamDecoder();
  const command = array(['DEL', 'a']).repeat(MAX_TRANSACTION_COMMANDS / 4);
  const transaction = Buffer.from(`${array(['MULTI'])}${command}${array(['EXEC'])}`);
  for (let count = 0; count < 5; count += 1) assert.equal(decoder.push(transaction)?.boundaries.length, 1);
});

test('a value that no request can have is refused', () => {
  const wire = array(['SET', 'k', 'v'.repeat(MAX_VALUE_BYTES + 1)]);
  assert.throws(() => new StreamDecoder().push(Buffer.from(wire)), ProtocolError);
});

test('an array and a string at the limit pass; one element or one byte more is refused from the header alone', () => {
  const limits = { maxElements: 3, maxBulkBytes: 4, maxArrayBytes: 100 };
  assert.equal(
    new StreamDecoder(limits).push(Buffer.from(array(['SET', 'key4', 'val4'])))?.commands.length,
    1,
  );
  assert.throws(() => new StreamDecoder(limits).push(Buffer.from('*4\r\n')), ProtocolError);
  assert.throws(
    () => new StreamDecoder(limits).push(Buffer.from('*2\r\n$3\r\nDEL\r\n$5\r\n')),
    ProtocolError,
  );
});

test('the strings of an array are bounded together, from the header of the one that is too much', () => {
  const limits = { maxElements: 100, maxBulkBytes: 10, maxArrayBytes: 40 };
  const decoder = new StreamDecoder(limits);
  // 4 + 9 + 2 * (4 + 10 + 2) bytes are 45.
  assert.equal(decoder.push(Buffer.from('*3\r\n$3\r\nDEL\r\n$9\r\n123456789\r\n')), null);
  assert.throws(() => decoder.push(Buffer.from('$10\r\n')), ProtocolError);
});

for (const [what, command, most] of [
  ['commands', array(['DEL', 'k']), MAX_TRANSACTION_COMMANDS / 2],
  ['commands that set', array(['SET', 'k', '']), MAX_TRANSACTION_COMMANDS],
  ['keys', array(['DEL', ...Array<string>(1_000).fill('k')]), Math.floor(MAX_TRANSACTION_COMMANDS / 1_001)],
] as const) {
  test(`an open transaction of tiny ${what} is refused long before it takes much memory`, () => {
    const decoder = new StreamDecoder();
    const bytes = Buffer.from(command.repeat(most));
    decoder.push(Buffer.from(array(['MULTI'])));
    assert.equal(decoder.push(bytes), null);
    assert.ok(decoder.heldBytes < 8 * 1024 * 1024);
    assert.throws(() => decoder.push(Buffer.from(command)), ProtocolError);
  });
}

test('the parser returns arrays one by one with the bytes they took, and keeps the rest', () => {
  const parser = new RespParser(STREAM_LIMITS);
  const wire = Buffer.from(`${array(['A', ''])}${array(['BC'])}*1\r\n$1`);
  parser.push(wire);
  const words: string[][] = [];
  const raw: Buffer[] = [];
  for (let next = parser.next(); next !== null; next = parser.next()) {
    words.push(next.elements.map(String));
    raw.push(next.raw);
  }
  assert.deepEqual(words, [['A', ''], ['BC']]);
  assert.deepEqual(Buffer.concat(raw), wire.subarray(0, wire.length - 6));
  assert.equal(parser.bufferedBytes, 6);
});

function set(key: string, value: string, expiresAt: number | null = null): Command {
  return { kind: 'set', key, value: Buffer.from(value), expiresAt };
}

function encode(commands: readonly Command[]): Run {
  const encoder = new Encoder();
  for (const command of commands) encoder.add(command);
  return encoder.finish();
}

test('a position may stop behind each command, but not inside a transaction, not even one that is taken back', () => {
  const encoder = new Encoder();
  const del = (key: string): Command => ({ kind: 'del', keys: [key] });
  const first = encoder.add(del('a'));
  const mark = encoder.mark();
  encoder.beginTransaction();
  encoder.add(del('b'));
  encoder.rollback(mark);
  const second = encoder.add(del('c'));
  encoder.beginTransaction();
  encoder.add(del('d'));
  encoder.add(del('e'));
  encoder.endTransaction();
  const run = encoder.finish();
  assert.deepEqual(run.boundaries, [first, second, run.bytes.length]);
  assert.deepEqual(new StreamDecoder().push(run.bytes), run);
});
