/** A restore to a position or a time gives what was there then, or says why it cannot, and changes nothing. */
import assert from 'node:assert/strict';
import {
  copyFileSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import type { Goal } from '../../src/archive/restoring/route.ts';
import type { SegmentHeader } from '../../src/archive/segment.ts';
import type { Ancestor } from '../../src/replication/history.ts';
import { offset } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';
import { below, position, refuses, restores, type Stage, stage } from '../support/archive-stage.ts';
import { BEGUN_AT, ModelStream, TestArchive } from '../support/archives.ts';
import { BACKED_UP, failed, makeBackup, psyncd } from '../support/backups.ts';

const A = BACKED_UP.runId;
const START: number = BACKED_UP.offset;
const [B, C] = [runId('b'), runId('c')];

test('a restore has what was there at a position, and never half of a transaction', async (t) => {
  const staged = await stage(t, 60);
  const { archive, random, stream } = staged;
  await archive.base(START);
  await archive.segments(A, START, random.random);
  const end = stream.last.at;
  for (const at of [
    START,
    START + 1,
    end - 1,
    end,
    ...Array.from({ length: 4 }, () => START + below(random, end - START)),
  ]) {
    await restores(staged, position(at), stream.stateAt(at).at, `seed ${random.seed}, offset ${at}`);
  }
});

test('a restore has what was there at a time, and nothing that came later', async (t) => {
  const staged = await stage(t, 60);
  const { archive, random, stream } = staged;
  await archive.base(START);
  await archive.segments(A, START, random.random);
  const { ms } = stream.last;
  const moments = [BEGUN_AT + 1_000, ms - 1, ms, ms + 86_400_000];
  for (const at of [
    ...moments,
    ...Array.from({ length: 4 }, () => BEGUN_AT + 1_000 + below(random, ms - BEGUN_AT)),
  ]) {
    await restores(staged, { kind: 'time', at }, stream.stateOf(at).at, `seed ${random.seed}, time ${at}`);
  }
});

test('a restore begins with the newest backup that is not too new', async (t) => {
  const staged = await stage(t, 40);
  const { archive, random, stream } = staged;
  await archive.base(START);
  const names = await archive.segments(A, START, random.random);
  const middle = stream.states[20]?.at as number;
  await archive.base(middle);
  // What only the first backup needs is gone.
  for (const name of names) if (Number(/-(\d+)\./.exec(name)?.[1]) <= middle) rmSync(archive.path(name));
  const late = stream.states[35] as { at: number; ms: number };
  await restores(staged, position(late.at), late.at, `seed ${random.seed}`);
  await restores(staged, { kind: 'time', at: late.ms }, late.at, `seed ${random.seed}`);
  await refuses(
    staged,
    position(middle - 1),
    new RegExp(`after ${A}:${START}: byte ${START + 1} is in no segment`),
  );
});

test('the history goes on over a change of the run ID, without what the old one wrote after it', async (t) => {
  const staged = await stage(t, 60);
  const { archive, random, stream } = staged;
  const shared = stream.states[30] as { at: number; ms: number };
  const lineage: Ancestor[] = [
    { runId: A, validTo: offset(shared.at), reason: 'promoted', at: shared.ms + 5 },
  ];
  await archive.base(START);
  await archive.segments(A, START, random.random);
  // A's surplus is of another stream, with other bytes at the same offsets.
  const other = new ModelStream(random.random);
  other.bytes = Buffer.from(stream.bytes.subarray(0, shared.at - START));
  other.states.splice(0, 1, ...stream.states.slice(0, 31));
  for (const { at, ms } of other.states) other.times.committed(offset(at), ms);
  other.grow(30);
  await new TestArchive(archive.folder, other).segments(B, shared.at, random.random, lineage);
  const mixed = { ...staged, stream: other };
  const before = stream.states[10] as { at: number; ms: number };
  await restores(mixed, position(other.last.at, B), other.last.at, `seed ${random.seed}`);
  await restores(mixed, position(before.at, B), before.at, `seed ${random.seed}`);
  await restores(mixed, { kind: 'time', at: other.last.ms }, other.last.at, `seed ${random.seed}`);
  await restores(staged, { kind: 'time', at: before.ms }, before.at, `seed ${random.seed}`);
  await restores(staged, position(stream.last.at), stream.last.at, `seed ${random.seed}`);
});

test('segments that two nodes have archived twice, with other cuts, are one stream', async (t) => {
  const staged = await stage(t, 60);
  const { archive, random, stream } = staged;
  await archive.base(START);
  await archive.segments(A, START, random.random);
  await archive.segments(A, START, random.random);
  await archive.segments(A, stream.states[7]?.at as number, random.random);
  await restores(staged, position(stream.last.at), stream.last.at, `seed ${random.seed}`);
});

test('a restore from an archive that lacks something, or has something wrong, says what it is', async (t) => {
  const staged = await stage(t, 30);
  const { archive, random, stream } = staged;
  const { ms, at: end } = stream.last;
  const base = await archive.base(START);
  const cuts = [10, 20, 30].map((index) => stream.states[index]?.at as number);
  const [one, two, three] = [
    await archive.segment(A, START, cuts[0] as number),
    await archive.segment(A, cuts[0] as number, cuts[1] as number),
    await archive.segment(A, cuts[1] as number, cuts[2] as number),
  ];
  const latest: Goal = { kind: 'time', at: ms + 60_000 };
  const path = archive.path(two);
  const whole = readFileSync(path);
  const put = (name: string, bytes: Buffer): void => writeFileSync(archive.path(name), bytes);

  rmSync(path);
  const gap = new RegExp(`has a gap after ${A}:${cuts[0]}: byte ${Number(cuts[0]) + 1} is in no segment`);
  await refuses(staged, position(end), gap);
  await refuses(staged, latest, gap);
  await restores(
    staged,
    { kind: 'time', at: stream.states[5]?.ms as number },
    stream.states[5]?.at as number,
    'before the gap',
  );
  put(two, whole);

  truncateSync(path, whole.length - 7);
  await refuses(staged, position(end), /\d+-\d+\.resp\.zst is damaged: its bytes are not those/);
  truncateSync(path, 0);
  await refuses(staged, latest, /is damaged: a part of it is missing/);
  for (let round = 0; round < 5; round += 1) {
    const wrong = Buffer.from(whole);
    const bit = below(random, wrong.length * 8);
    wrong[bit >> 3] = (wrong[bit >> 3] as number) ^ (1 << (bit & 7));
    put(two, wrong);
    await refuses(staged, position(end), /is damaged: /);
  }
  copyFileSync(archive.path(three), path);
  await refuses(staged, position(end), /is damaged: it is the segment .* under another name/);
  put(two, whole);

  await refuses(
    staged,
    position(end + 1),
    new RegExp(`ends after ${A}:${end}: byte ${end + 1} is in no segment`),
  );
  await refuses(staged, position(START - 1), /does not reach back to 999999: its first backup is at 1000000/);
  await refuses(staged, position(START, B), /nothing of the run ID b{40}/);
  await refuses(staged, { kind: 'time', at: BEGUN_AT - 5_000 }, /no backup of before 2026-11-29T04:59:55/);

  const baseBytes = readFileSync(archive.path(base));
  const wrong = Buffer.from(baseBytes);
  wrong[5_000] = (wrong[5_000] as number) ^ 4;
  put(base, wrong);
  await refuses(staged, position(end), /shop\/a{40}\/1000000-20261129T050000Z\.db is damaged/);
  rmSync(archive.path(base));
  await refuses(staged, position(end), /it has no backup/);
  const renamed = base.replace(`/${START}-`, `/${cuts[0]}-`);
  put(renamed, baseBytes);
  await refuses(staged, position(end), /is the backup of a{40}:1000000, under another name/);
  renameSync(archive.path(renamed), archive.path(base));
  await restores(staged, position(end), end, 'everything is back');
  await restores(staged, position(cuts[0] as number), cuts[0] as number, one);
});

test('a segment of another history under the same run ID is refused by its hash', async (t) => {
  const staged = await stage(t, 20);
  const { archive, random, stream } = staged;
  await archive.base(START);
  const cut = stream.states[10]?.at as number;
  const end = stream.last.at;
  await archive.segment(A, START, cut);
  const other = new ModelStream(random.random);
  other.grow(10);
  // A copy of the node went on under the run ID, and archived its own bytes at the same offsets.
  await archive.segment(A, cut, end, { hashBefore: 5n, hashAfter: 6n });
  await refuses(
    staged,
    position(end),
    /is of another history: its hash at byte \d+ is not that of the bytes before/,
  );
  await archive.segment(A, cut, end, { hashBefore: null, hashAfter: 6n });
  await refuses(staged, position(end), /is of another history/);
  await archive.segment(A, cut, end, { hashBefore: null, hashAfter: null });
  await restores(staged, position(end), end, `seed ${random.seed}`);
});

/** Changes a key of the stream between two offsets: it stays a stream, and its commits end where they did. @returns the change back */
function forge({ stream }: Stage, after: number, end: number): () => void {
  const at = stream.bytes.indexOf('key/', after - START);
  assert.ok(at >= 0 && at < end - START, `no key after ${after} up to ${end}`);
  stream.bytes.write('kez/', at);
  return () => void stream.bytes.write('key/', at);
}

test('wrong bytes of a segment are refused by its hashes where it overlaps, and where it is cut short', async (t) => {
  const staged = await stage(t, 40);
  const { archive, stream } = staged;
  const at = (index: number): number => stream.states[index]?.at as number;
  const end = stream.last.at;
  const whole = await archive.segment(A, START, end);
  await archive.base(START);
  const late: Goal[] = [position(end), { kind: 'time', at: stream.last.ms }];
  const early: Goal[] = [position(at(20)), { kind: 'time', at: stream.states[20]?.ms as number }];
  const isRight = async (): Promise<void> => {
    await archive.segment(A, START, end);
    for (const goal of early) await restores(staged, goal, at(20), 'what is before the end');
    await restores(staged, position(end), end, 'the end');
  };
  const planted = async (
    [after, upTo]: readonly [number, number],
    wanted: readonly Goal[],
    header: Partial<SegmentHeader> = {},
  ): Promise<void> => {
    const back = after < upTo ? forge(staged, after, upTo) : () => undefined;
    await archive.segment(A, START, end, header);
    back();
    const message = new RegExp(`${whole} (is|may be) of another history: .* byte \\d+`);
    for (const goal of wanted) await refuses(staged, goal, message);
  };
  // The goal is inside of the segment: wrong bytes before it, and after it.
  await planted([START, at(20)], early);
  await planted([at(20), end], early);
  await isRight();
  // The segment begins before the backup: wrong bytes before it, and none but another history.
  await archive.base(at(10));
  await planted([START, at(10)], [...late, ...early]);
  await planted([0, 0], late, { hashBefore: 5n });
  await planted([0, 0], late, { hashBefore: null });
  await planted([at(20), end], early);
  await isRight();
  // It begins inside of another segment.
  rmSync(archive.path(whole));
  await archive.segment(A, START, at(20));
  const back = forge(staged, at(15), at(20));
  const overlapping = await archive.segment(A, at(15), end);
  back();
  for (const goal of late) await refuses(staged, goal, new RegExp(`${overlapping} is of another history`));
});

test('a segment that ends inside of a command, and one that is no stream, are refused', async (t) => {
  const staged = await stage(t, 20);
  const { archive, stream } = staged;
  await archive.base(START);
  const end = stream.last.at;
  const cut = await archive.segment(A, START, end - 1);
  await refuses(staged, { kind: 'time', at: stream.last.ms + 60_000 }, /byte \d+ is inside a command/);
  rmSync(archive.path(cut));
  stream.bytes.fill('x');
  await archive.segment(A, START, end);
  await refuses(
    staged,
    position(end),
    /shop\/a{40}\/\d+-\d+\.resp\.zst: the bytes after byte 1000000 are no stream/,
  );
});

test('two histories that were written at one time are refused for a time, and each is there by its position', async (t) => {
  const staged = await stage(t, 20);
  const { archive, random, stream } = staged;
  await archive.base(START);
  await archive.segments(A, START, random.random);
  await archive.base(START, C);
  await archive.segments(C, START, random.random);
  await refuses(
    staged,
    { kind: 'time', at: stream.last.ms },
    /several histories of that time, a{40} and c{40}: choose/,
  );
  await restores(staged, position(stream.last.at), stream.last.at, `seed ${random.seed}`);
  await restores(staged, position(stream.last.at, C), stream.last.at, `seed ${random.seed}`);
});

test('the command restores an archive, and refuses in one line what it does not understand', async (t) => {
  const staged = await stage(t, 10);
  const { archive, random, stream, work } = staged;
  await archive.base(START);
  await archive.segments(A, START, random.random);
  const to = join(work, 'restored');
  const time = new Date(stream.last.ms + 1_000).toISOString();
  const restored = await psyncd(['restore', archive.folder, to, '--to-time', time]);
  assert.equal(restored.code, 0, restored.stderr);
  const last = new Date(stream.last.ms).toISOString();
  assert.match(
    restored.stdout,
    new RegExp(
      `^asked for ${time}; the last archived write is of ${last}, 1 s earlier: the archive ends there, and`,
    ),
  );
  assert.match(restored.stdout, new RegExp(`\nrestored: \\d+ entr.* at ${A}:${stream.last.at}, of .*\n`));
  assert.match(restored.stdout, /\nmade of shop\/a{40}\/1000000-.*\.db and \d+ segments? after it\n/);
  const usage = async (flags: readonly string[], message: RegExp): Promise<void> =>
    failed(await psyncd(['restore', archive.folder, join(work, 'other'), ...flags]), 2, message);
  await usage(['--to-time', 'yesterday'], /--to-time: expected a time such as/);
  await usage(['--to-time', '2026-11-29T05:00:00'], /--to-time: expected a time such as/);
  await usage(['--to-position', '5'], /--to-position: expected <run ID>:<offset>/);
  await usage(['--to-time', time, '--to-position', `${A}:5`], /exclude each other/);
  await usage(['--cluster', 'shop'], /--cluster is for/);
  failed(
    await psyncd(['restore', join(work, 'nowhere'), join(work, 'other'), '--to-time', time]),
    1,
    /no such folder/,
  );
  await new TestArchive(archive.folder, stream, 'test').base(START);
  failed(
    await psyncd(['restore', archive.folder, join(work, 'other'), '--to-time', time]),
    1,
    /archives of shop, test/,
  );
  failed(
    await psyncd(['restore', archive.folder, join(work, 'other'), '--to-time', time, '--cluster', 'nope']),
    1,
    /has no archive of nope, but of shop, test/,
  );
  const named = ['--to-time', time, '--cluster', 'shop', '--dry-run'];
  assert.match(
    (await psyncd(['restore', archive.folder, join(work, 'other'), ...named])).stdout,
    /\nwould be restored/,
  );
  const later = new Date(Date.now() + 600_000).toISOString();
  const ahead = ['--to-time', later, '--cluster', 'shop', '--dry-run'];
  const all = await psyncd(['restore', archive.folder, join(work, 'other'), ...ahead]);
  assert.match(all.stdout, new RegExp(`^asked for ${later}, which is to come; .*\nwould be restored`));
  assert.match(all.stderr, /^psyncd: the time of --to-time is to come: the restore takes all/);
  assert.deepEqual(readdirSync(work), ['restored']);
  failed(
    await psyncd(['restore', archive.folder, to, '--to-time', time, '--cluster', 'shop']),
    1,
    /not empty/,
  );
});

test('a restore to a time says what it was given in place of an archive', async (t) => {
  const { archive, work } = await stage(t, 5);
  const name = `${A}-${START}-20261129T050000Z.db`;
  const file = join(archive.folder, name);
  await makeBackup(file);
  const args = [join(work, 'other'), '--to-time', '2026-11-29T06:00:00Z'];
  failed(
    await psyncd(['restore', file, ...args]),
    1,
    /is a file: --to-time and --to-position need the target/,
  );
  failed(
    await psyncd(['restore', `s3://bucket/${name}`, ...args]),
    1,
    /is a file: --to-time and --to-position need the target/,
  );
  failed(
    await psyncd(['restore', archive.folder, ...args]),
    1,
    /has no archive: backups made by hand are none/,
  );
  rmSync(file);
  failed(await psyncd(['restore', archive.folder, ...args]), 1, /has no archive\n/);
  failed(
    await psyncd(['restore', archive.folder, join(work, 'other')]),
    1,
    /is a folder: name a backup in it .* --to-time/,
  );
  assert.deepEqual(readdirSync(work), []);
});
