/** What the check of a whole file is made of: its checksums of short rows, and its reads of pages in any order. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { crc32 } from 'node:zlib';
import { PlainFile } from '../../src/store/checks/page-source.ts';
import { shortSum } from '../../src/store/checks/row-sum.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { seeded } from '../support/random.ts';

test('the checksum of a short row is the CRC-32 of zlib, wherever the row begins and whatever came before', () => {
  const bytes = randomBytes(600);
  for (let length = 0; length <= 300; length += 1) {
    const from = length % 9;
    const part = bytes.subarray(from, from + length);
    const before = crc32(bytes.subarray(0, from));
    assert.equal(shortSum(bytes, from, from + length, 0), crc32(part), `${length} bytes`);
    assert.equal(
      shortSum(bytes, from, from + length, before),
      crc32(part, before),
      `${length} bytes after ${from}`,
    );
  }
});

test('a file gives the same bytes in order, backwards and at random, and says where it ends', async (t) => {
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const pageBytes = 4_096;
  const pages = 300;
  const bytes = randomBytes(pages * pageBytes + 100);
  const path = join(await temporaryFolder(t), 'pages');
  writeFileSync(path, bytes);
  const file = new PlainFile(path);
  t.after(() => file.close());
  const check = (at: number, length = pageBytes): void => {
    const into = Buffer.alloc(length);
    const read = file.read(at, into);
    const there = bytes.subarray(at, at + length);
    assert.equal(read, there.length, `at ${at}, ${length} bytes`);
    assert.ok(into.subarray(0, read).equals(there), `at ${at}, ${length} bytes`);
  };
  for (let page = 0; page <= pages; page += 1) check(page * pageBytes);
  for (let page = pages; page >= 0; page -= 1) check(page * pageBytes);
  for (let count = 0; count < 2_000; count += 1) {
    const page = Math.floor(random() * (pages + 1));
    for (let next = page; next <= Math.min(page + random() * 20, pages); next += 1) check(next * pageBytes);
    check(page * pageBytes, 4);
  }
  check(0, 600_000);
  check(bytes.length + pageBytes);
});
