/** `psyncd serve`: one node, until it is told to stop. */
import { type App, start } from '../app.ts';
import { loadSettings } from '../config.ts';
import { StartError } from '../store/start-error.ts';
import { CommandError } from './command-error.ts';
import { createLog } from './log.ts';

/** A stop that takes longer than this ends all the same; the journal has everything that was answered. */
const STOP_WITHIN_MS = 4_500;

/** @throws UsageError, or CommandError with the line why the node cannot start */
export async function serve(
  flags: Readonly<Record<string, string | undefined>>,
  configFile: string | null,
): Promise<void> {
  const settings = loadSettings(flags, process.env, configFile);
  const log = await createLog(settings.logLevel);
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
  const { role, status } = app.node;
  // Listened for first: whoever reads the line may tell it to stop at once.
  const stopped = stopSignal();
  process.stdout.write(
    `psyncd listening on ${app.url} role=${role} run-id=${status.runId} offset=${status.offset}\n`,
  );
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

/** A node that another process started over a channel ends when that process does. */
function stopSignal(): Promise<string> {
  return new Promise((resolve) => {
    process.once('SIGTERM', resolve);
    process.once('SIGINT', resolve);
    if (process.connected) process.once('disconnect', () => resolve('disconnect'));
  });
}
