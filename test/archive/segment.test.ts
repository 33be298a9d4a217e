/** A segment gives back what went into it, or says that it does not. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { SegmentError, type SegmentFacts, SegmentWriter } from '../../src/archive/segment.ts';
import { openSegment } from '../../src/archive/segment-reader.ts';
import { offset } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { seeded } from '../support/random.ts';

const BYTES = Buffer.from('*3\r\n$3\r\nSET\r\n$4\r\ncity\r\n$4\r\nOslo\r\n');
const HEADER: SegmentFacts = {
  runId: runId('a'),
  lineage: [{ runId: runId('b'), validTo: offset(50), reason: 'promoted', at: 1_700_000_000_000 }],
  after: offset(100),
  end: offset(100 + BYTES.length),
  hashBefore: 7n,
  hashAfter: null,
  beginsChain: false,
  marks: [
    [110, 1_700_000_000_010],
    [100 + BYTES.length, 1_700_000_000_500],
  ],
};

async function segment(bytes: readonly Buffer[], header = HEADER, compresses = false): Promise<Buffer> {
  const writer = new SegmentWriter(compresses);
  for (const each of bytes) await writer.push(each);
  return writer.finish(header);
}

async function read(path: string): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of (await openSegment(path)).bytes()) parts.push(part);
  return Buffer.concat(parts);
}

/** Makes a segment of a header in JSON and a frame of zstd, as a hostile author would. */
function forged(header: object | string, frame: Buffer): Buffer {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const begin = Buffer.alloc(8);
  begin.writeUInt32LE(0x184d2a50, 0);
  begin.writeUInt32LE(32 + text.length, 4);
  const sum = createHash('sha256').update(text).update(frame).digest();
  return Buffer.concat([begin, sum, text, frame]);
}

function jsonOf(made: Buffer): Record<string, unknown> {
  return JSON.parse(made.toString('utf8', 40, 8 + made.readUInt32LE(4))) as Record<string, unknown>;
}

test('a segment gives back its header and its bytes, however they were divided', async (t) => {
  const folder = await temporaryFolder(t);
  const { random, seed } = seeded();
  t.diagnostic(`seed ${seed}`);
  const bytes = Buffer.from(Array.from({ length: 3_000_000 }, () => Math.floor(random() * 8)));
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Math.ceil(random() * 500_000);
    parts.push(bytes.subarray(at, at + length));
    at += length;
  }
  const header = { ...HEADER, end: offset(100 + bytes.length) };
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  for (const compresses of [false, true]) {
    const path = join(folder, `segment-${compresses}`);
    const made = await segment(parts, header, compresses);
    await writeFile(path, made);
    const { header: found } = await openSegment(path);
    const frameBytes = made.length - 8 - made.readUInt32LE(4);
    assert.deepEqual(found, { ...header, sha256, frameBytes });
    assert.ok(bytes.equals(await read(path)), `seed ${seed}`);
  }
});

test('a program for zstd gets the bytes of the stream out of a segment, compressed or not', async () => {
  const large = Buffer.alloc(700_000, BYTES);
  for (const bytes of [[BYTES], [], [Buffer.alloc(0), large, BYTES, large]]) {
    for (const compresses of [false, true]) {
      const made = await segment(bytes, HEADER, compresses);
      // Node unpacks one frame only, so the skippable one is left out for it.
      const frame = made.subarray(8 + made.readUInt32LE(4));
      assert.ok(zstdDecompressSync(frame).equals(Buffer.concat(bytes)));
    }
  }
});

test('the length of a segment does not tell whether one value in it repeats another', async () => {
  const { random, seed } = seeded();
  const text = (length: number): Buffer =>
    Buffer.from(Array.from({ length }, () => 97 + Math.floor(random() * 26)));
  for (const length of [1, 24, 1_000, 100_000, 400_000]) {
    const secret = text(length);
    const guessed = await segment([secret, BYTES, secret]);
    for (const guess of [text(length), Buffer.alloc(length)]) {
      const other = await segment([secret, BYTES, guess]);
      assert.equal(other.length, guessed.length, `${length} bytes, seed ${seed}`);
    }
  }
});

test('others get the event loop while a segment is made', async () => {
  let turns = 0;
  let isOver = false;
  const count = (): void => {
    turns += 1;
    if (!isOver) setImmediate(count);
  };
  setImmediate(count);
  const slices = Array.from({ length: 16 }, () => Buffer.alloc(256 * 1024));
  await segment(slices);
  isOver = true;
  // One after each slice, and one for every two when their sum is made.
  assert.ok(turns >= slices.length * 1.5 - 1, `${turns} turns`);
});

test('a segment with a wrong bit, and one that was cut anywhere, is refused', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'segment');
  const made = await segment([BYTES]);
  const refused = async (bytes: Buffer, what: string): Promise<void> => {
    await writeFile(path, bytes);
    await assert.rejects(read(path), SegmentError, what);
  };
  // Another bit of each byte, and all bits of what says where the parts are.
  for (let bit = 0; bit < made.length * 8; bit += bit < 64 ? 1 : 9) {
    const wrong = Buffer.from(made);
    wrong[bit >> 3] = (wrong[bit >> 3] as number) ^ (1 << (bit & 7));
    await refused(wrong, `bit ${bit}`);
  }
  for (let length = 0; length < made.length; length += length < 50 ? 1 : 13) {
    await refused(made.subarray(0, length), `cut at ${length}`);
  }
  await refused(Buffer.concat([made, Buffer.from([0])]), 'a byte more');
  await refused(Buffer.concat([made, made]), 'twice');
  await refused(Buffer.from('<html>503 Slow Down</html>'.padEnd(100)), 'HTML');
});

test('a segment whose sum fits and whose header or bytes do not is refused', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'segment');
  const json = jsonOf(await segment([BYTES]));
  const frame = zstdCompressSync(BYTES);
  await writeFile(path, forged(json, frame));
  assert.deepEqual(await read(path), BYTES);
  const last = json.last as number;
  const wrong: [what: string, header: object | string, frame: Buffer, message: RegExp][] = [
    ['a newer format', { ...json, format: 2 }, frame, /format 2.*reads up to 1/],
    ['no format', { ...json, format: undefined }, frame, /not what psyncd writes/],
    ['no JSON', '{"format":1', frame, /no JSON/],
    ['no object', 'null', frame, /no JSON/],
    ['a run ID that is none', { ...json, runId: 'x' }, frame, /not what psyncd writes/],
    ['byte 0', { ...json, first: 0 }, frame, /not what psyncd writes/],
    ['no bytes', { ...json, first: last + 1 }, frame, /not what psyncd writes/],
    ['a lineage that is none', { ...json, lineage: 'x' }, frame, /not what psyncd writes/],
    ['a mark outside', { ...json, times: [[last + 1, 5]] }, frame, /not what psyncd writes/],
    [
      'marks out of order',
      {
        ...json,
        times: [
          [120, 5],
          [110, 6],
        ],
      },
      frame,
      /not what psyncd writes/,
    ],
    ['a mark without a time', { ...json, times: [[last, null]] }, frame, /not what psyncd writes/],
    ['other bytes', json, zstdCompressSync(Buffer.alloc(BYTES.length)), /not those that were archived/],
    ['fewer bytes', json, zstdCompressSync(BYTES.subarray(1)), /not those that were archived/],
    ['very many bytes', json, zstdCompressSync(Buffer.alloc(50_000_000)), /more than \d+ bytes/],
    ['no zstd', json, Buffer.from('no zstd at all'), /cannot be unpacked/],
    ['half of a frame', json, frame.subarray(0, frame.length - 3), /cannot be unpacked/],
  ];
  for (const [what, header, bytes, message] of wrong) {
    await writeFile(path, forged(header, bytes));
    await assert.rejects(
      read(path),
      (error) => {
        assert.ok(error instanceof SegmentError, `${what}: ${error}`);
        assert.match(error.message, message, what);
        return true;
      },
      what,
    );
  }
});
