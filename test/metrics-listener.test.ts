/** What becomes of a node whose thread for metrics ends by itself. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { MetricsListener, type MetricsListenerParts } from '../src/metrics-listener.ts';
import { offset, type RunId } from '../src/replication/position.ts';
import { loadSettings } from '../src/settings/load.ts';

function partsWith(trustProxy: readonly string[], logged: string[]): MetricsListenerParts {
  const settings = { ...loadSettings({}, { PSYNCD_METRICS_LISTEN: '127.0.0.1:9151' }, null), trustProxy };
  const log = (event: string, fields?: object): unknown =>
    logged.push(`${event} ${JSON.stringify(fields ?? {})}`);
  return {
    settings,
    live: { logsRequests: false, bodyTimeoutMs: 1_000, requestMemoryBytes: 1_000_000 },
    node: { position: { runId: 'a'.repeat(40) as RunId, offset: offset(0) }, role: 'master', closing: false },
    log: { debug: log, info: log, warn: log, error: log },
    lines: null,
  } as unknown as MetricsListenerParts;
}

test('a thread for metrics that ends before it listens is a start that fails, and the log says why', async () => {
  const logged: string[] = [];
  // Settings have only what is an address: the thread cannot go on with anything else.
  const listener = new MetricsListener(partsWith(['no-address'], logged));
  await assert.rejects(listener.listen('127.0.0.1', 0), /no-address|[Ii]nvalid/);
  await assert.rejects(listener.listen('127.0.0.1', 0));
  listener.closeAllConnections();
  await listener.close();
  assert.equal(logged.length, 1, logged.join('\n'));
});

test('a listener that was told to end has nothing to log', async () => {
  const logged: string[] = [];
  const listener = new MetricsListener(partsWith([], logged));
  assert.ok((await listener.listen('127.0.0.1', 0)) > 0);
  await listener.close();
  await listener.close();
  assert.deepEqual(logged, []);
});
