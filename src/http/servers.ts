/** The servers of a node: one, or with `--admin-listen` two that share everything but their addresses and operations. */
import type { Listening } from './listening.ts';
import { Traffic } from './request/traffic/traffic.ts';
import { createServer, type ServerParts } from './server.ts';

/** Largest number of connections to the admin listener. */
export const MAX_ADMIN_CONNECTIONS = 256;
/** Beyond so many connections to the admin listener the idle ones end, so that nobody can keep administrators out by being silent. */
export const MAX_IDLE_ADMINS = 192;

export class Servers {
  /** What clients and other nodes reach. */
  readonly main: Listening;
  /** null: the main one serves everything. */
  readonly #admin: Listening | null;

  private constructor(main: Listening, admin: Listening | null) {
    this.main = main;
    this.#admin = admin;
  }

  /** @param isSplit whether there is an admin listener. @returns the servers, not listening yet */
  static async create(parts: ServerParts, isSplit: boolean): Promise<Servers> {
    if (!isSplit) return new Servers(await createServer(parts), null);
    const traffic = new Traffic(() => parts.settings.requestMemoryBytes);
    const [main, admin] = [
      await createServer(parts, 'main', traffic),
      await createServer(parts, 'admin', traffic),
    ];
    admin.endIdleBeyond(MAX_IDLE_ADMINS, ({ headers, socket }) => {
      const sender = parts.access.find(headers.authorization, socket);
      return sender?.has('metrics') === true;
    });
    return new Servers(main, admin);
  }

  /**
   * Listens on the admin address.
   * @param port 0: a free one
   * @returns the port
   * @throws Error with the system's code
   */
  async listenForAdmins(host: string, port: number): Promise<number> {
    if (this.#admin === null) throw new Error('there is no admin listener');
    return await this.#admin.listen(host, port, MAX_ADMIN_CONNECTIONS);
  }

  /** Takes no more connections, and resolves when those that are there have ended. */
  async close(): Promise<void> {
    await Promise.all([this.main.close(), this.#admin?.close()]);
  }

  /** Ends all connections that are not upgraded, answered or not. */
  closeAllConnections(): void {
    this.main.closeAllConnections();
    this.#admin?.closeAllConnections();
  }
}
