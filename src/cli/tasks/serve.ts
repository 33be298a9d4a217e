/** `psyncd serve`: runs one node until it is told to stop. */
import { type App, start } from '../../app.ts';
import type { Log } from '../../node/ports/world.ts';
import type { Lacking } from '../../node/session/shutdown-wait.ts';
import { logUnexpected } from '../../node/unattended.ts';
import { othersTakeSignals } from '../../runtime/early-stop.ts';
import { endProcess } from '../../runtime/end-process.ts';
import { idleSettings, loadSettings, unknownVariables } from '../../settings/load.ts';
import { UsageError } from '../../settings/parse.ts';
import type { Settings } from '../../settings/table.ts';
import { StartError } from '../../store/start-error.ts';
import { CommandError } from '../command-error.ts';
import { counted } from '../output/info.ts';
import { createLog } from '../output/log.ts';

/**
 * Time for closing after the wait for replicas and the archive, in milliseconds. Then the process ends anyway; the journal holds every
 * answered write.
 */
const STOP_WITHIN_MS = 4_500;
/** Time that the last lines of the log get before the process is ended, in milliseconds. */
const LAST_LINES_MS = 100;
/**
 * Time within which a second signal counts as the same one, in milliseconds: npm repeats the SIGINT that the terminal
 * sends to its whole group, and `timeout` signals first its child and then the group.
 */
const SAME_SIGNAL_MS = 500;
/** Interval at which a terminal shows again what the stop waits for, in milliseconds. */
const TELL_EVERY_MS = 1_000;

/** umask: the node creates files with mode 0600 and folders with 0700. */
const OWNER_ONLY = 0o077;

/** @throws UsageError, or CommandError of one line with the reason why the node cannot start */
export async function serve(
  flags: Readonly<Record<string, string | undefined>>,
  configFile: string | null,
): Promise<void> {
  // Set before any file is created: values, positions and later tokens belong to the owner alone.
  process.umask(OWNER_ONLY);
  // Without a listener this signal would open Node's debugger to everyone on the machine.
  process.on('SIGUSR1', () => undefined);
  // On a terminal this signal stops the node.
  const reloads = process.stdin.isTTY ? null : new ReloadSignals();
  const load = (): Settings => loadSettings(flags, process.env, configFile);
  const settings = load();
  const log = await createLog(settings.logLevel);
  const unknown = unknownVariables(process.env);
  if (unknown.length > 0) log.warn('unknown-variables', { names: unknown });
  const idle = idleSettings(flags, process.env, configFile, settings);
  if (idle.length > 0) log.warn('settings-without-effect', { problems: idle });
  alwaysCheckPeers(log);
  let app: App;
  try {
    app = await start(settings, log, (error) => {
      log.error('cannot-go-on', { error: error.message });
      process.exit(1);
    });
  } catch (error) {
    if (error instanceof StartError) throw new CommandError(error.message);
    throw error;
  }
  goOnAfterMistakes(log);
  const { role, status } = app.node;
  // Registered first, because the reader of the line may stop the node at once.
  const signals = new StopSignals();
  const admin = app.adminUrl === null ? '' : ` admin=${app.adminUrl}`;
  const metrics = app.metricsUrl === null ? '' : ` metrics=${app.metricsUrl}/metrics`;
  process.stdout.write(
    `psyncd listening on ${app.url} role=${role} run-id=${status.runId} offset=${status.offset}${admin}${metrics}\n`,
  );
  reloads?.onEach(() => reload(app, load, log));
  log.info('stopping', { signal: await signals.first });
  await stop(app, signals, log);
  if (process.connected) process.disconnect();
}

/** Closes all, and ends the process if it does not end by itself then. @param signals of which the first has come */
async function stop(app: App, signals: StopSignals, log: Log): Promise<void> {
  let isClosed = false;
  const endDuringCall = (): void => {
    log.warn('ended-during-a-call', { detail: 'all is closed, but a call of the system has not returned' });
    endAfterLines(0);
  };
  signals.onNext((signal) => {
    if (isClosed) return endDuringCall();
    if (app.node.stopWaiting()) {
      log.warn('stopping-at-once', { signal });
      return;
    }
    log.error('stopped-unclean', { signal });
    endAfterLines(1);
  });
  const stopTelling = process.stderr.isTTY ? tellWhoIsWaitedFor(app) : (): void => undefined;
  await app.waitForOthers();
  stopTelling();
  // It keeps the process running until all is closed: Node ends a process that waits for nothing else, with code 13.
  const late = setTimeout(() => {
    if (isClosed) return endDuringCall();
    log.error('stopped-late', {});
    endAfterLines(0);
  }, STOP_WITHIN_MS);
  await app.close();
  isClosed = true;
  // A call in the folder of a target whose disk has gone away keeps Node from ending the process.
  late.unref();
  log.info('stopped');
}

/** Ends the process when the last lines of the log have had their time. @param code exit code */
function endAfterLines(code: number): void {
  setTimeout(() => endProcess(code), LAST_LINES_MS);
}

/** Keeps Node from trusting whoever answers: a master, or whoever has the keys of signed tokens. */
function alwaysCheckPeers(log: Log): void {
  const name = 'NODE_TLS_REJECT_UNAUTHORIZED';
  if (process.env[name] !== '0') return;
  delete process.env[name];
  log.warn('variable-ignored', { name });
}

/** Reads all files again. If the config file is not usable, the settings stay; the other files count all the same. */
function reload(app: App, load: () => Settings, log: Log): void {
  app.reloadFiles();
  try {
    app.reload(load());
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    log.error('settings-not-reloaded', { error: error.message });
  }
}

/**
 * Handles errors that no other code caught (src/node/unattended.ts): the node logs them with their stack and keeps
 * serving. That is safe for the data: a commit that is incomplete in memory ends the node on purpose
 * (StreamHead.commit), and so do damage and failing storage. Every other error concerns one request, one connection or
 * one timer.
 */
function goOnAfterMistakes(log: Log): void {
  process.on('uncaughtException', (error) => logUnexpected(log, 'process', error));
  process.on('unhandledRejection', (error) => logUnexpected(log, 'promise', error));
}

/**
 * Shows repeatedly on a terminal what the stop waits for.
 * @returns a function that ends this
 */
function tellWhoIsWaitedFor({ node }: App): () => void {
  const tell = (): void => {
    const { lacking } = node;
    if (lacking !== null) process.stderr.write(`${waitingLine(lacking)}\n`);
  };
  setImmediate(tell);
  const timer = setInterval(tell, TELL_EVERY_MS);
  return () => clearInterval(timer);
}

/** Text for a terminal about a stop that waits for replicas. */
export function waitingLine({ replicas, bytes }: Lacking): string {
  const lacking = `${counted(replicas, 'replica', 'replicas')}, ${(bytes / 1024 ** 2).toFixed(1)} MiB to go`;
  return `waiting for ${lacking}; press Ctrl-C again to stop at once`;
}

/** SIGHUP, by which a node reads its files again. Without a listener the signal would end the process, also while it starts. */
class ReloadSignals {
  #hasCome = false;
  #reload: (() => void) | null = null;

  constructor() {
    process.on('SIGHUP', () => {
      if (this.#reload === null) this.#hasCome = true;
      else this.#reload();
    });
  }

  /** @param reload called for each signal, and at once if one has come before */
  onEach(reload: () => void): void {
    this.#reload = reload;
    if (this.#hasCome) reload();
  }
}

/** Signals that stop the node. A node that another process started over a channel also ends with that process. */
class StopSignals {
  /** Name of the first signal. */
  readonly first: Promise<string>;
  #next: (signal: string) => void = () => undefined;

  constructor() {
    this.first = new Promise((resolve) => {
      let lastAt: number | null = null;
      const taken = (signal: string): void => {
        const now = performance.now();
        if (lastAt !== null && now - lastAt < SAME_SIGNAL_MS) return;
        if (lastAt === null) resolve(signal);
        else this.#next(signal);
        lastAt = now;
      };
      process.on('SIGTERM', taken);
      process.on('SIGINT', taken);
      othersTakeSignals();
      // The node's terminal was closed.
      if (process.stdin.isTTY) process.on('SIGHUP', taken);
      if (process.connected) process.once('disconnect', () => resolve('disconnect'));
    });
  }

  /** @param next called for each later signal, except for repetitions of the same one */
  onNext(next: (signal: string) => void): void {
    this.#next = next;
  }
}
