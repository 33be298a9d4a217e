/** Answers scrapes. What makes the text is loaded at the first one. */
import type { Exposition } from './exposition.ts';
import type { Sources } from './snapshot.ts';

export interface Scraped {
  readonly contentType: string;
  readonly text: string;
}

/**
 * How many times longer a text is given to everybody than the event loop took to make it: scrapes, however many, take a twentieth of
 * the event loop's time at most.
 */
const REUSE = 20;
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
  #last: { readonly scraped: Scraped; readonly until: number } | null = null;

  /** @param monotonic milliseconds */
  constructor(sources: Sources, monotonic: () => number = () => performance.now()) {
    this.#sources = sources;
    this.#monotonic = monotonic;
  }

  /** Resolves to the metrics of this moment, or of one shortly before if there are many scrapes. */
  async scrape(): Promise<Scraped> {
    if (this.#last !== null && this.#monotonic() < this.#last.until) return this.#last.scraped;
    this.#present ??= this.#made().finally(() => {
      this.#present = null;
    });
    return this.#present;
  }

  async #made(): Promise<Scraped> {
    if (this.#exposition === null) {
      const { Exposition } = await import('./exposition.ts');
      this.#exposition = new Exposition(this.#sources);
    }
    const { contentType } = this.#exposition;
    const snapshot = await this.#exposition.snapshot(this.name);
    const begunAt = this.#monotonic();
    const scraped = { contentType, text: await this.#exposition.text(snapshot) };
    const now = this.#monotonic();
    this.#last = { scraped, until: now + Math.min(MAX_AGE_MS, REUSE * (now - begunAt)) };
    return scraped;
  }
}
