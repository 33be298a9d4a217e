import assert from 'node:assert/strict';
import test from 'node:test';
import { Pace } from '../../src/node/head/pace.ts';

const MIB = 1024 * 1024;

/** A writer that always has more, against an applier that takes `commitMs` for what it has begun. */
function filled(
  pace: Pace,
  commitMs: number,
  room: number,
  turnBytes: number,
): { bytes: number; pauses: number[] } {
  let now = 1_000;
  let bytes = 0;
  const pauses: number[] = [];
  pace.begun(32 * MIB, now);
  const end = now + commitMs;
  while (now < end && bytes < room) {
    bytes += turnBytes;
    pace.added(turnBytes, room - bytes, now);
    const pause = pace.pauseMs(now);
    pauses.push(pause);
    // The turn itself takes a while.
    now += pause + 1;
  }
  pace.ended(end);
  return { bytes, pauses };
}

test('the room of the overlay lasts for the whole commit of the applier, and writers do not wait when there is none', () => {
  const pace = new Pace();
  filled(pace, 2_000, Number.POSITIVE_INFINITY, MIB);
  const { bytes, pauses } = filled(pace, 2_000, 32 * MIB, 256 * 1024);
  assert.ok(bytes < 32 * MIB, 'the overlay became full before the commit was over');
  assert.ok(bytes > 24 * MIB, `only ${bytes} bytes of the room were used`);
  assert.ok(Math.max(...pauses) <= 25);
  pace.added(MIB, 32 * MIB, 10_000);
  assert.equal(pace.pauseMs(10_000), 0);
});

test('a client that writes little does not wait, whatever the applier is committing', () => {
  const pace = new Pace();
  pace.begun(32 * MIB, 0);
  for (let now = 0; now < 900; now += 1) {
    pace.added(1_000, 32 * MIB, now);
    assert.equal(pace.pauseMs(now), 0);
  }
});

test('a commit that takes longer than the one before slows writers down, and does not stop them', () => {
  const pace = new Pace();
  filled(pace, 500, Number.POSITIVE_INFINITY, MIB);
  pace.begun(32 * MIB, 0);
  pace.added(MIB, 31 * MIB, 0);
  pace.added(MIB, 16 * MIB, 5_000);
  const pause = pace.pauseMs(5_000);
  assert.ok(pause > 0 && pause <= 25, String(pause));
});
