/** `psyncd info`: what it tells people of the archive and of backups. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { formatInfo } from '../../src/cli/output/info.ts';
import type { ReplicationAnswer } from '../../src/client/rest.ts';
import { EXAMPLE_MASTER } from '../../src/http/schemas/common/examples.ts';

type ArchiveAnswer = NonNullable<ReplicationAnswer['archive']>;

const T = Date.parse('2026-11-29T05:00:00Z');
const WHOLE: ArchiveAnswer = {
  position: 'a:97',
  at: T,
  lagBytes: 0,
  hasBase: true,
  isWhole: true,
  lastSuccessAt: T,
  failures: 0,
  restarts: 0,
  gap: null,
  failing: null,
};

/** @returns what `psyncd info` says of such an archive */
function shown(archive: Partial<ArchiveAnswer>): string {
  const answer = { ...EXAMPLE_MASTER, archive: { ...WHOLE, ...archive } } as unknown as ReplicationAnswer;
  const line = formatInfo(answer).find((each) => each.startsWith('archive'));
  return line?.replace(/^archive\s+/, '') ?? '';
}

test('info says what of the stream can be restored, what is missing, and the last gap', () => {
  const of = 'of 2026-11-29T05:00:00.000Z';
  const gap = { after: 'a:97', to: null, at: T };
  const failing = { since: T, at: T, code: 'NO_ACCESS' };
  assert.equal(shown({}), `up to a:97, ${of}, nothing missing`);
  assert.equal(
    shown({ lagBytes: 18_213_782, hasBase: false, isWhole: false, gap, failing }),
    `up to a:97, ${of}, 18,213,782 bytes behind, without a new backup yet, a gap after a:97 (2026-11-29T05:00:00.000Z), failing: NO_ACCESS`,
  );
  assert.equal(
    shown({ position: 'a:900', gap: { ...gap, to: 'a:800' } }),
    `up to a:900, ${of}, nothing missing, a gap after a:97 up to a:800 (2026-11-29T05:00:00.000Z)`,
  );
  assert.equal(
    shown({ position: null, at: null, lagBytes: 0, hasBase: false, isWhole: false }),
    'nothing is known that can be restored, without a backup yet',
  );
});

test('info shows the archive of an older node, which says nothing of gaps', () => {
  const { gap: _, ...older } = WHOLE;
  const answer = { ...EXAMPLE_MASTER, archive: older } as unknown as ReplicationAnswer;
  assert.ok(formatInfo(answer).some((line) => line.endsWith('nothing missing')));
});

test('info names a backup that is gone from the target', () => {
  const gone = { name: 'shop/a/97-20261129T050000Z.db', at: T };
  const backups = { ...EXAMPLE_MASTER.backups, gone };
  const lines = formatInfo({ ...EXAMPLE_MASTER, backups } as unknown as ReplicationAnswer);
  assert.ok(lines.some((line) => line.endsWith(`Z, gone from the target: ${gone.name}`)));
});
