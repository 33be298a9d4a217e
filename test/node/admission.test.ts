import assert from 'node:assert/strict';
import test from 'node:test';
import { type Admission, admissionFor } from '../../src/node/head/admission.ts';

test('each state of the overlay admits single writes and bulk requests as the room and the pace allow', () => {
  const untilRoom: Admission = { kind: 'singles-only', ms: null };
  const cases: readonly (readonly [
    full: boolean,
    crowded: boolean,
    fits: boolean,
    pauseMs: number,
    expected: Admission,
  ])[] = [
    [false, false, true, 0, { kind: 'go' }],
    [false, false, true, 7, { kind: 'singles-only', ms: 7 }],
    [false, false, false, 0, untilRoom],
    [false, false, false, 7, untilRoom],
    [false, true, true, 0, untilRoom],
    [false, true, false, 7, { kind: 'pause', ms: 7 }],
    [true, true, true, 7, { kind: 'wait-for-room' }],
    [true, false, true, 0, { kind: 'wait-for-room' }],
  ];
  for (const [full, crowded, fits, pauseMs, expected] of cases) {
    assert.deepEqual(admissionFor(full, crowded, fits, pauseMs), expected);
  }
});
