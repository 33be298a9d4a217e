/** `psyncd serve`: one node, until it is told to stop. */
import { type App, start } from '../app.ts';
import { loadSettings, type Settings, UsageError, unknownVariables } from '../config.ts';
import type { Log } from '../node/ports.ts';
import type { Lacking } from '../node/session/shutdown-wait.ts';
import { logUnexpected } from '../node/unattended.ts';
import { StartError } from '../store/start-error.ts';
import { CommandError } from './command-error.ts';
import { counted } from './info.ts';
import { createLog } from './log.ts';

/**
 * How long closing may take once nobody is waited for any more, in milliseconds. Then the process ends all the same; the journal has
 * everything that was answered.
 */
const STOP_WITHIN_MS = 4_500;
/**
 * A signal that comes so soon after another, in milliseconds, is the same one: npm passes on the SIGINT that the terminal sends to
 * all of its group, and `timeout` signals first its child and then the group.
 */
const SAME_SIGNAL_MS = 500;
/** On a terminal the line that says what is waited for is renewed this often, in milliseconds. */
const TELL_EVERY_MS = 1_000;

/** For umask: files that the node makes are 0600, folders 0700. */
const OWNER_ONLY = 0o077;

/** @throws UsageError, or CommandError with the line why the node cannot start */
export async function serve(
  flags: Readonly<Record<string, string | undefined>>,
  configFile: string | null,
): Promise<void> {
  // Before any file is made: values, positions and later tokens are nobody's but the owner's.
  process.umask(OWNER_ONLY);
  // Without a listener this signal opens Node's debugger to everybody on the machine.
  process.on('SIGUSR1', () => undefined);
  const load = (): Settings => loadSettings(flags, process.env, configFile);
  const settings = load();
  const log = await createLog(settings.logLevel);
  const unknown = unknownVariables(process.env);
  if (unknown.length > 0) log.warn('unknown-variables', { names: unknown });
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
  // Listened for first: whoever reads the line may tell it to stop at once.
  const signals = new StopSignals();
  process.stdout.write(
    `psyncd listening on ${app.url} role=${role} run-id=${status.runId} offset=${status.offset}\n`,
  );
  // Without a listener this signal would end the process without a clean stop.
  if (!process.stdin.isTTY) process.on('SIGHUP', () => reload(app, load, log));
  log.info('stopping', { signal: await signals.first });
  signals.onNext((signal) => {
    if (app.node.stopWaiting()) {
      log.warn('stopping-at-once', { signal });
      return;
    }
    log.error('stopped-unclean', { signal });
    process.exit(1);
  });
  const stopTelling = process.stderr.isTTY ? tellWhoIsWaitedFor(app) : (): void => undefined;
  await app.waitForReplicas();
  stopTelling();
  setTimeout(() => {
    log.error('stopped-late', {});
    process.exit(0);
  }, STOP_WITHIN_MS).unref();
  await app.close();
  log.info('stopped');
  if (process.connected) process.disconnect();
}

/** Reads the config file once more; if it cannot be used, the settings stay as they are. */
function reload(app: App, load: () => Settings, log: Log): void {
  try {
    app.reload(load());
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    log.error('settings-not-reloaded', { error: error.message });
  }
}

/**
 * The last resort for errors that have no owner (src/node/unattended.ts): the node logs them with their stack and serves on.
 * That is safe for the data: a commit that is not whole in memory ends the node on purpose (StreamHead.commit), damage and
 * failing storage do too, and everything else belongs to one request, one connection or one timer.
 */
function goOnAfterMistakes(log: Log): void {
  process.on('uncaughtException', (error) => logUnexpected(log, 'process', error));
  process.on('unhandledRejection', (error) => logUnexpected(log, 'promise', error));
}

/** Writes to a terminal, again and again, what the stop waits for. @returns what ends that */
function tellWhoIsWaitedFor({ node }: App): () => void {
  const tell = (): void => {
    const { lacking } = node;
    if (lacking !== null) process.stderr.write(`${waitingLine(lacking)}\n`);
  };
  setImmediate(tell);
  const timer = setInterval(tell, TELL_EVERY_MS);
  return () => clearInterval(timer);
}

/** What a stop that waits says on a terminal. */
export function waitingLine({ replicas, bytes }: Lacking): string {
  const lacking = `${counted(replicas, 'replica', 'replicas')}, ${(bytes / 1024 ** 2).toFixed(1)} MiB to go`;
  return `waiting for ${lacking}; press Ctrl-C again to stop at once`;
}

/** The signals that tell the node to stop. A node that another process started over a channel ends when that process does. */
class StopSignals {
  /** The name of the first one. */
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
      // The terminal that it was started in is closed.
      if (process.stdin.isTTY) process.on('SIGHUP', taken);
      if (process.connected) process.once('disconnect', () => resolve('disconnect'));
    });
  }

  /** @param next is called for each signal after the first; for none that is the same as the one before */
  onNext(next: (signal: string) => void): void {
    this.#next = next;
  }
}
