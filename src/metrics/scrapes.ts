/** Answers scrapes. What makes the text is loaded at the first one. */
import type { Exposition } from './exposition.ts';
import { freeBytes, type Sources } from './snapshot.ts';

export interface Scraped {
  readonly contentType: string;
  /** The text in UTF-8. */
  readonly bytes: Buffer;
}

/**
 * Share of the event loop's time that the making of texts may take in the long run. It is below one percent, so that 99 % of the
 * writes do not meet it. (Measured with 5 %, at 100 scrapes a second: the 99th percentile of writes doubled.)
 */
const SHARE = 0.0025;
/** Time that the making of texts may take at once after a pause, in milliseconds: some dozens of texts. */
const BURST_MS = 50;
/** Largest age of a text, in milliseconds. */
const MAX_AGE_MS = 1_000;

export class Scrapes {
  /** The URL under which other nodes know this one; it is not known before the node listens. */
  name = '';
  readonly #sources: Sources;
  readonly #monotonic: () => number;
  #exposition: Exposition | null = null;
  /** The scrape that is being made. */
  #present: Promise<Scraped> | null = null;
  #last: { readonly scraped: Scraped; readonly at: number } | null = null;
  /** Milliseconds that the making of texts may take now; negative: it has taken more. */
  #credit = BURST_MS;
  #creditAt = 0;

  /** @param monotonic milliseconds */
  constructor(sources: Sources, monotonic: () => number = () => performance.now()) {
    this.#sources = sources;
    this.#monotonic = monotonic;
  }

  /** Resolves to the metrics of this moment, or, if there are very many scrapes, of one within the last second. */
  async scrape(): Promise<Scraped> {
    const reused = this.#reusable();
    if (reused !== null) return reused;
    this.#present ??= this.#made().finally(() => {
      this.#present = null;
    });
    return this.#present;
  }

  /** How long the last text answers scrapes from now on, in milliseconds; 0: the next one gets a text of its moment. */
  get restMs(): number {
    const now = this.#now();
    if (this.#last === null || this.#credit > 0) return 0;
    return Math.max(0, Math.min(MAX_AGE_MS - (now - this.#last.at), -this.#credit / SHARE));
  }

  #reusable(): Scraped | null {
    const now = this.#now();
    if (this.#last === null || this.#credit > 0 || now - this.#last.at >= MAX_AGE_MS) return null;
    return this.#last.scraped;
  }

  /** Adds to the credit what has come since the last time. */
  #now(): number {
    const now = this.#monotonic();
    this.#credit = Math.min(BURST_MS, this.#credit + SHARE * (now - this.#creditAt));
    this.#creditAt = now;
    return now;
  }

  async #made(): Promise<Scraped> {
    if (this.#exposition === null) {
      const { Exposition } = await import('./exposition.ts');
      this.#exposition = new Exposition(this.#sources);
    }
    const diskFreeBytes = await freeBytes(this.#sources.data);
    const begunAt = this.#monotonic();
    const snapshot = this.#exposition.snapshot(this.name, diskFreeBytes);
    const { contentType } = this.#exposition;
    const scraped = { contentType, bytes: Buffer.from(await this.#exposition.text(snapshot)) };
    const now = this.#monotonic();
    // The first one also compiles the library, which happens once.
    if (this.#last !== null) this.#credit -= now - begunAt;
    this.#last = { scraped, at: now };
    return scraped;
  }
}
