/** A restore finds the bytes of a history also in what the run IDs after it have archived. */
import { rmSync, writeFileSync } from 'node:fs';
import test from 'node:test';
import type { Ancestor } from '../../src/replication/history.ts';
import { offset } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';
import { position, refuses, restores, stage } from '../support/archive-stage.ts';
import { BACKED_UP } from '../support/backups.ts';

const A = BACKED_UP.runId;
const START: number = BACKED_UP.offset;
const [B, C] = [runId('b'), runId('c')];

test('a position of an old run ID is there if only the node that was promoted has archived its bytes', async (t) => {
  const staged = await stage(t, 40);
  const { archive, random, stream } = staged;
  const what = `seed ${random.seed}`;
  const [archived = START, shared = START] = [10, 30].map((index) => stream.states[index]?.at);
  const promotedAt = (stream.states[30]?.ms as number) + 5;
  const ofB: Ancestor[] = [{ runId: A, validTo: offset(shared), reason: 'promoted', at: promotedAt }];
  await archive.base(START);
  const first = await archive.segment(A, START, archived);
  // The master had archived up to here when it was lost; its replica goes on where the archive ends.
  await archive.segment(B, archived, stream.last.at, {}, ofB);
  const acknowledged = stream.states[20] as { at: number; ms: number };
  await restores(staged, position(acknowledged.at), acknowledged.at, what);
  await restores(staged, position(shared), shared, what);
  await restores(staged, { kind: 'time', at: acknowledged.ms }, acknowledged.at, what);
  await restores(staged, { kind: 'time', at: promotedAt - 1 }, shared, what);
  await refuses(staged, position(shared + 1), new RegExp(`ends after ${A}:${archived}`));

  // Nothing of A is there at all, but its descendants know it, also over a run ID between.
  const ofC: Ancestor[] = [
    { runId: B, validTo: offset(stream.last.at), reason: 'promoted', at: stream.last.ms + 5 },
    ...ofB,
  ];
  await archive.base(START, C, ofC);
  rmSync(archive.path(first));
  await refuses(staged, position(acknowledged.at), /has a gap after/);
  await archive.segment(C, START, archived, {}, ofC);
  await restores(staged, position(acknowledged.at), acknowledged.at, what);
});

test('a damaged segment of another run ID does not keep a restore from what the own segments have', async (t) => {
  const staged = await stage(t, 20);
  const { archive, random, stream } = staged;
  await archive.base(START);
  await archive.segments(A, START, random.random);
  const other = await archive.segment(B, START, stream.last.at);
  writeFileSync(archive.path(other), 'damaged');
  await restores(staged, position(stream.last.at), stream.last.at, `seed ${random.seed}`);
  await refuses(staged, position(stream.last.at + 1), /ends after .* is damaged/);
});
