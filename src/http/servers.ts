/**
 * The servers of a node: one for clients, one more with `--admin-listen` and one more with `--metrics-listen`. The first two share
 * everything but their addresses and operations; the last one has a thread of its own.
 */
import type { Listening } from './listening.ts';
import { createServer, type ServerParts } from './server.ts';
import { trafficOf } from './side-server.ts';

/** Largest number of connections to the admin listener. */
export const MAX_ADMIN_CONNECTIONS = 256;

/** The listener for metrics. */
export interface MetricsListening {
  /**
   * @param port 0: a free one
   * @returns the port
   * @throws Error with the system's code
   */
  listen(host: string, port: number): Promise<number>;
  /** Takes no more connections, and resolves when those that are there have ended. */
  close(): Promise<void>;
  /** Ends all connections. */
  closeAllConnections(): void;
}

/** The listeners beside the main one. */
interface Others {
  readonly admin: Listening | null;
  readonly metrics: MetricsListening | null;
}

export class Servers {
  /** What clients and other nodes reach. */
  readonly main: Listening;
  readonly #others: Others;

  private constructor(main: Listening, others: Others) {
    this.main = main;
    this.#others = others;
  }

  /** @param wanted which listeners there are beside the main one. @returns the servers, not listening yet */
  static async create(
    parts: ServerParts,
    wanted: { readonly admin: boolean; readonly metrics: MetricsListening | null },
  ): Promise<Servers> {
    const traffic = trafficOf(parts);
    const main = await createServer(parts, wanted.admin ? 'main' : 'all', traffic);
    const admin = wanted.admin ? await createServer(parts, 'admin', traffic) : null;
    return new Servers(main, { admin, metrics: wanted.metrics });
  }

  /**
   * Listens on the admin address.
   * @param port 0: a free one
   * @returns the port
   * @throws Error with the system's code
   */
  async listenForAdmins(host: string, port: number): Promise<number> {
    const { admin } = this.#others;
    if (admin === null) throw new Error('there is no admin listener');
    return await admin.listen(host, port, MAX_ADMIN_CONNECTIONS);
  }

  /** The same for the address of the metrics. */
  async listenForMetrics(host: string, port: number): Promise<number> {
    const { metrics } = this.#others;
    if (metrics === null) throw new Error('there is no listener for metrics');
    return await metrics.listen(host, port);
  }

  /** Takes no more connections, and resolves when those that are there have ended. */
  async close(): Promise<void> {
    const { admin, metrics } = this.#others;
    await Promise.all([this.main.close(), admin?.close(), metrics?.close()]);
  }

  /** Ends all connections that are not upgraded, answered or not. */
  closeAllConnections(): void {
    const { admin, metrics } = this.#others;
    for (const each of [this.main, admin, metrics]) each?.closeAllConnections();
  }
}
