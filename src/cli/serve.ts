/** `psyncd serve`: one node, until it is told to stop. */
import { type App, start } from '../app.ts';
import { loadSettings, type Settings, UsageError, unknownVariables } from '../config.ts';
import type { Log } from '../node/ports.ts';
import { logUnexpected } from '../node/unattended.ts';
import { StartError } from '../store/start-error.ts';
import { CommandError } from './command-error.ts';
import { createLog } from './log.ts';

/** A stop that takes longer than this ends all the same; the journal has everything that was answered. */
const STOP_WITHIN_MS = 4_500;

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
  const stopped = stopSignal();
  process.stdout.write(
    `psyncd listening on ${app.url} role=${role} run-id=${status.runId} offset=${status.offset}\n`,
  );
  // Without a listener this signal would end the process without a clean stop.
  if (!process.stdin.isTTY) process.on('SIGHUP', () => reload(app, load, log));
  const signal = await stopped;
  log.info('stopping', { signal });
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

/** A node that another process started over a channel ends when that process does. */
function stopSignal(): Promise<string> {
  return new Promise((resolve) => {
    process.once('SIGTERM', resolve);
    process.once('SIGINT', resolve);
    // The terminal that it was started in is closed.
    if (process.stdin.isTTY) process.once('SIGHUP', resolve);
    if (process.connected) process.once('disconnect', () => resolve('disconnect'));
  });
}
