/**
 * The pages that show the description: few files, each made once by the document server and shared by all answers.
 *
 * A request names a file, and nothing else of the request reaches the document server: that one resolves `..` and escapes in
 * paths, so a path that it takes from a stranger may be any path.
 */
import type { FastifyInstance } from 'fastify';

/** Names of files below `/docs/`: no dots alone, no escapes. The empty one is the page itself. */
const NAME = /^(?:[\w-]+(?:\.[\w-]+)*(?:\/[\w-]+(?:\.[\w-]+)*)*\/?)?$/;
/** Longest name. */
const MAX_NAME = 200;

export interface Page {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

export class DocumentPages {
  readonly #server: FastifyInstance;
  /** Files that are there. */
  readonly #pages = new Map<string, Page>();
  /** Files that are being asked for: each is made once, however many ask for it at the same moment. */
  readonly #asked = new Map<string, Promise<Page | null>>();

  constructor(server: FastifyInstance) {
    this.#server = server;
  }

  /** @param name path after `/docs/` @returns the answer for it; null: there is no such file */
  async page(name: string): Promise<Page | null> {
    if (name.length > MAX_NAME || !NAME.test(name)) return null;
    const known = this.#pages.get(name) ?? this.#asked.get(name);
    if (known !== undefined) return known;
    const asking = this.#made(name).finally(() => this.#asked.delete(name));
    this.#asked.set(name, asking);
    return asking;
  }

  async #made(name: string): Promise<Page | null> {
    const answer = await this.#server.inject({ method: 'GET', url: `/docs/${name}` });
    if (answer.statusCode === 404) return null;
    // These headers belong to a connection, and no part of a file is served alone.
    const {
      connection,
      date,
      'content-length': length,
      'accept-ranges': ranges,
      ...headers
    } = answer.headers;
    const page = { status: answer.statusCode, headers: headers as Page['headers'], body: answer.rawPayload };
    this.#pages.set(name, page);
    return page;
  }
}
