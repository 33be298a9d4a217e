/** The wall clock of the nodes of a test, which somebody sets while they run. */
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { temporaryFolder } from './cluster.ts';

const PRELOAD = new URL('./wall-clock-preload.ts', import.meta.url).href;
/** Of an entry that nobody else has. */
const KEY = 'wall-clock';
/** How wrong a clock may still be after it was set, in milliseconds. */
const INACCURACY_MS = 60_000;

export class WallClock {
  /** For `Cluster.startWith`: the node has this clock. */
  readonly environment: Readonly<Record<string, string>>;
  readonly #path: string;

  private constructor(path: string) {
    this.#path = path;
    this.environment = { NODE_OPTIONS: `--import ${PRELOAD}`, PSYNCD_TEST_CLOCK: path };
  }

  static async create(t: TestContext): Promise<WallClock> {
    const path = join(await temporaryFolder(t), 'clock');
    await writeFile(path, '0');
    return new WallClock(path);
  }

  /**
   * Sets the clock. Resolves when the nodes have it: of an entry that expires the master tells when, and any node when its counters were
   * reset.
   * @param wrongByMs beside the clock of this process, in milliseconds
   * @param master one of the nodes, which takes writes
   * @param others nodes that must have it too
   */
  async set(wrongByMs: number, master: ChildNode, ...others: readonly ChildNode[]): Promise<void> {
    // As a whole: the nodes never read half a number.
    await writeFile(`${this.#path}.new`, String(wrongByMs));
    await rename(`${this.#path}.new`, this.#path);
    await until(`the clock is wrong by ${wrongByMs} ms`, async () => {
      const answer = await fetch(`${master.url}/v1/keys/${KEY}?ttl=1000000`, { method: 'PUT', body: 'v' });
      const { expiresAt } = (await answer.json()) as { expiresAt?: number };
      // An expiry before 1970 is refused.
      if (expiresAt === undefined) return Date.now() + wrongByMs + 1_000_000_000 < 0;
      return isNow(expiresAt - 1_000_000_000, wrongByMs);
    });
    for (const other of others) {
      await until('another node has the clock', async () => {
        const answer = await fetch(`${other.url}/v1/replication/counters/reset`, { method: 'POST' });
        const { countersResetAt } = (await answer.json()) as { countersResetAt: number };
        return isNow(countersResetAt, wrongByMs);
      });
    }
  }
}

function isNow(ms: number, wrongByMs: number): boolean {
  return Math.abs(ms - Date.now() - wrongByMs) < INACCURACY_MS;
}
