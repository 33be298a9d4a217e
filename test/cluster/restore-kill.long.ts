/** A restore that is killed at any step leaves what was there or what the backup holds, and the next one works. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { makeBackup, psyncd } from '../support/backups.ts';
import { Cluster, writeMany } from '../support/cluster.ts';

/** The restore has the last points behind it when it is done. */
const DONE_AT = ['restore-switched', 'restore-end'];

/** @returns the digest of a whole folder; null: there is none */
async function digestOf(folder: string): Promise<string | null> {
  const { code, stdout } = await psyncd(['verify', folder, '--json']);
  const { digest, detail } = JSON.parse(stdout) as { digest?: string; detail?: string };
  if (code === 0) return digest ?? null;
  assert.match(detail ?? '', /is no data folder of psyncd|there is no /);
  return null;
}

/** @returns each point that a restore reaches, once for each time */
function reached(trace: string): string[] {
  const counts = new Map<string, number>();
  return readFileSync(trace, 'utf8')
    .trim()
    .split('\n')
    .map((point) => {
      counts.set(point, (counts.get(point) ?? 0) + 1);
      return `${point}#${counts.get(point)}`;
    });
}

for (const isForced of [false, true]) {
  const into = isForced ? 'over the files of a node' : 'into a new folder';
  test(`a restore ${into} that is killed anywhere leaves all or nothing, and works the next time`, async (t) => {
    const cluster = await Cluster.create(t);
    const [file, faults, trace] = ['backup.db', 'faults.json', 'trace'].map((name) => cluster.data(name));
    assert.ok(file !== undefined && faults !== undefined && trace !== undefined);
    const { digest } = await makeBackup(file);
    const node = await cluster.start('before');
    await writeMany(node, 'k', 5);
    const before = isForced ? (await node.client.digest()).digest : null;
    await node.stop('SIGKILL');
    const data = cluster.data('node');
    const begin = (): void => {
      rmSync(data, { recursive: true, force: true });
      if (isForced) cpSync(cluster.data('before'), data, { recursive: true });
    };
    const run = (fault: Readonly<Record<string, string>>, ...flags: string[]): ReturnType<typeof psyncd> => {
      writeFileSync(faults, JSON.stringify(fault));
      return psyncd(['restore', file, data, ...flags], { PSYNCD_FAULTS: faults });
    };
    const force = isForced ? ['--force'] : [];
    begin();
    assert.equal((await run({ trace }, ...force)).code, 0);
    const points = reached(trace);
    assert.ok(points.length > 10 && points.some((point) => point.startsWith('restore-end')), points.join());
    for (const point of points) {
      begin();
      const [name = '', count] = point.split('#');
      const { code, stderr } = await run({ [name]: `kill#${count}` }, ...force);
      assert.equal(code, null, `${point}: ${stderr}`);
      const isDone = DONE_AT.includes(name);
      assert.equal(await digestOf(data), isDone ? digest : before, point);
      // A start never makes an empty node of what is left.
      if (before === null && !isDone && existsSync(data) && (await readdir(data)).length > 0) {
        await assert.rejects(cluster.start('node'), /is no data folder of psyncd/, point);
      }
      const again = await run({}, ...(isDone ? ['--force'] : force));
      assert.equal(again.code, 0, `${point}: ${again.stderr}`);
      assert.equal(await digestOf(data), digest, point);
      const names = (await readdir(data)).map((each) => each.replace(/\d+/, 'n'));
      const asides = names.filter((each) => each === 'replaced-n').length;
      assert.equal(asides, Number(isForced) + Number(isDone), `${point}: ${names}`);
      const left = names.filter((each) => each !== 'replaced-n').sort();
      assert.deepEqual(left, ['keyspace-n.db', 'psyncd.db'], point);
      if (isForced && !isDone) {
        const aside = (await readdir(data)).find((each) => each.startsWith('replaced-')) ?? '';
        assert.equal(await digestOf(join(data, aside)), before, point);
      }
    }
    const restored = await cluster.start('node');
    assert.equal((await restored.client.digest()).digest, digest);
  });
}
