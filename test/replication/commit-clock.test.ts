import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { CommitClock, MAX_SAMPLES } from '../../src/replication/commit-clock.ts';
import { offset } from '../../src/replication/position.ts';

/** One commit: so many bytes, so long after the one before. */
interface Commit {
  readonly bytes: number;
  readonly afterMs: number;
}

test('a replica that has everything has no lag', () => {
  const clock = new CommitClock(offset(100), 1_000);
  assert.equal(clock.lagMs(offset(100), 9_000), 0);
  clock.committed(offset(150), 2_000);
  assert.equal(clock.lagMs(offset(150), 9_000), 0);
});

test('the lag counts from the commit of the first byte that is lacking', () => {
  const clock = new CommitClock(offset(0), 0);
  clock.committed(offset(50), 1_000);
  clock.committed(offset(80), 3_000);
  // Has 49: byte 50 came at 1,000. Has 50: byte 51 came at 3,000.
  assert.equal(clock.lagMs(offset(0), 10_000), 9_000);
  assert.equal(clock.lagMs(offset(49), 10_000), 9_000);
  assert.equal(clock.lagMs(offset(50), 10_000), 7_000);
  assert.equal(clock.lagMs(offset(79), 10_000), 7_000);
  assert.equal(clock.lagMs(offset(80), 10_000), 0);
});

test('bytes from before the start count from the start', () => {
  const clock = new CommitClock(offset(100), 1_000);
  assert.equal(clock.lagMs(offset(30), 5_000), 4_000);
});

test('however many commits there are, no lag is too small, and a recent one is right to 50 ms', () => {
  const commit = fc.record({
    bytes: fc.integer({ min: 1, max: 1_000 }),
    afterMs: fc.integer({ min: 0, max: 200 }),
  });
  fc.assert(
    fc.property(fc.array(commit, { minLength: 1, maxLength: 300 }), fc.nat(), (commits: Commit[], pick) => {
      const clock = new CommitClock(offset(0), 0);
      let [end, now] = [0, 0];
      const times: { from: number; at: number }[] = [];
      for (const { bytes, afterMs } of commits) {
        now += afterMs;
        times.push({ from: end, at: now });
        end += bytes;
        clock.committed(offset(end), now);
      }
      const asked = pick % end;
      const committed = times.findLast(({ from }) => from <= asked)?.at ?? 0;
      const lag = clock.lagMs(offset(asked), now + 1_000);
      const exact = now + 1_000 - committed;
      assert.ok(lag >= exact && lag <= exact + 50, `${lag}, exactly ${exact}`);
    }),
  );
});

test('a million commits take bounded memory; old lags become coarse, never too small, new ones stay exact', () => {
  const clock = new CommitClock(offset(0), 0);
  const commits = MAX_SAMPLES * 50;
  for (let index = 1; index <= commits; index += 1) clock.committed(offset(index), index * 100);
  const now = commits * 100;
  assert.equal(clock.lagMs(offset(commits - 10), now), 900);
  for (let has = 0; has < commits; has += 997) {
    assert.ok(clock.lagMs(offset(has), now) >= now - (has + 1) * 100);
  }
});
