/**
 * The thread of `--metrics-listen`: scrapes do not take the time of the event loop that serves writes. It asks the main thread
 * (metrics-listener.ts) for everything that it answers.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { Access } from './access/access.ts';
import { AskedNode } from './http/metrics-side/asked-node.ts';
import type { FromThread, NodeState, ToThread } from './http/metrics-side/messages.ts';
import { createMetricsServer } from './http/metrics-side/metrics-server.ts';
import type { Log } from './node/ports/world.ts';
import { unattended } from './node/unattended.ts';
import { formatPosition } from './replication/position.ts';
import { giveBackWhenQuiet } from './runtime/memory/quiet-memory.ts';
import { systemWorld } from './runtime/system-world.ts';
import { knownHosts } from './settings/live.ts';
import type { Settings } from './settings/table.ts';
import { AccessLog } from './web/access-log.ts';
import { Proxies } from './web/proxies.ts';
import { RequestCounts, type RequestNote } from './web/record/request-counts.ts';

/** What the thread starts with. */
export interface ThreadData {
  readonly settings: Settings;
  readonly state: NodeState;
}

/** Largest number of connections, of all addresses of the listener together. */
export const MAX_METRICS_CONNECTIONS = 64;
/** How long requests may be uncounted, in milliseconds, and how many: one message counts many of them. */
const NOTES_MS = 1_000;
const MAX_NOTES = 1_000;

const port = parentPort;
if (port === null) throw new Error('this module runs as a worker thread');
const { settings: given, state } = workerData as ThreadData;
const send = (message: FromThread): void => port.postMessage(message);

/** Notes requests for the counts of the main thread. */
class SentCounts extends RequestCounts {
  #notes: RequestNote[] = [];
  #isWaiting = false;

  override add(note: RequestNote): void {
    this.#notes.push(note);
    if (this.#notes.length >= MAX_NOTES) this.send();
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    setTimeout(() => {
      this.#isWaiting = false;
      this.send();
    }, NOTES_MS).unref();
  }

  send(): void {
    if (this.#notes.length === 0) return;
    send({ kind: 'requests', notes: this.#notes });
    this.#notes = [];
  }
}

giveBackWhenQuiet();
const counts = new SentCounts();
const node = new AskedNode(
  state,
  (id, question) => {
    // Metrics count what was answered before.
    counts.send();
    send({ kind: 'question', id, question });
  },
  systemWorld,
);
const line =
  (level: 'debug' | 'info' | 'warn' | 'error'): Log['debug'] =>
  (event, fields = {}) =>
    send({ kind: 'log', level, event, fields });
const log: Log = { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') };
// Nobody needs a token here, so it knows none.
const access = new Access(log, given, systemWorld);
const proxies = new Proxies(given.trustProxy);
const tls = await listenerTls();
const server = await createMetricsServer({
  log,
  counts,
  access,
  accessLog:
    given.accessLog === null
      ? null
      : new AccessLog({
          lines: { write: (event, fields) => send({ kind: 'access', event, fields }) },
          access,
          proxies,
          position: () => formatPosition(node.position),
          monotonic: systemWorld.monotonic,
        }),
  node,
  settings: {
    hosts: knownHosts(given),
    proxies,
    allowedOrigins: given.allowOrigin,
    publicUrl: given.publicUrl,
    get bodyTimeoutMs() {
      return node.state.bodyTimeoutMs;
    },
    get requestMemoryBytes() {
      return node.state.requestMemoryBytes;
    },
    get logsRequests() {
      return node.state.logsRequests;
    },
  },
  tls,
});

port.on('message', (message: ToThread) => {
  if (message.kind === 'answer') node.answered(message.answer);
  else if (message.kind === 'listen') unattended(listen(message.host, message.port), fatal);
  else if (message.kind === 'reload') unattended(tls?.reload() ?? Promise.resolve(), fatal);
  else if (message.kind === 'end-connections') server.closeAllConnections();
  else unattended(close(), fatal);
});

async function listen(host: string, wanted: number): Promise<void> {
  try {
    await tls?.start(() => undefined);
    send({ kind: 'listening', port: await server.listen(host, wanted, MAX_METRICS_CONNECTIONS) });
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    send({ kind: 'failed', message, code });
  }
}

async function close(): Promise<void> {
  tls?.stop();
  await server.close();
  counts.send();
  port?.close();
}

/** Ends the thread; the main thread logs why. */
function fatal(error: unknown): never {
  throw error;
}

async function listenerTls() {
  const { tlsCert, tlsKey } = given;
  if (tlsCert === null || tlsKey === null) return null;
  const { ListenerTls } = await import('./tls/listener-tls.ts');
  // The main thread reads the same files, and logs what it finds in them.
  const refusals: Log = {
    ...log,
    info: () => undefined,
    error: () => undefined,
    warn: (event, fields) => {
      if (event === 'tls-client-refused') log.warn(event, fields);
    },
  };
  return new ListenerTls({ ...given, tlsCert, tlsKey }, systemWorld, refusals);
}
