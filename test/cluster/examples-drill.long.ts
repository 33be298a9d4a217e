/** The drill in examples: a backup that is made while clients write can be restored. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { Cluster, writeMany } from '../support/cluster.ts';
import { MAIN } from '../support/main-file.ts';

const DRILL = fileURLToPath(new URL('../../examples/restore-drill.mjs', import.meta.url));

test('the drill restores what a replica had when it was stopped under writers', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await writeMany(master, 'k', 200);
  await master.client.set('large', 'x'.repeat(100_000), { ttl: 3600 });
  let isOver = false;
  const writers = Array.from({ length: 4 }, async (_, writer) => {
    for (let index = 0; !isOver; index += 1) {
      await master.client.set(`w${writer}/${index % 100}`, `${index}`, index % 3 === 0 ? { ttl: 3600 } : {});
      if (index % 10 === 0) await master.client.delete(`w${writer}/${(index * 7) % 100}`);
    }
  });
  const output = await new Promise<string>((resolve, reject) => {
    const environment = { ...process.env, PSYNCD_NODE: master.url, PSYNCD: `${process.execPath} ${MAIN}` };
    execFile(process.execPath, [DRILL], { env: environment }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(stdout + stderr));
    });
  }).finally(() => {
    isOver = true;
  });
  await Promise.all(writers);
  const digests = [...output.matchAll(/digest ([0-9a-f]{32})/g)].map((match) => match[1]);
  assert.equal(digests.length, 3, output);
  assert.equal(new Set(digests).size, 1, output);
  assert.match(output, /the drill has passed/);
});
