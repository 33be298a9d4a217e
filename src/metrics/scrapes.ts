/** Answers scrapes. What makes the text is loaded at the first one. */
import type { Exposition } from './exposition.ts';
import type { Sources } from './snapshot.ts';

export interface Scraped {
  readonly contentType: string;
  readonly text: string;
}

export class Scrapes {
  /** The URL under which other nodes know this one; it is not known before the node listens. */
  name = '';
  readonly #sources: Sources;
  #exposition: Exposition | null = null;
  #present: Promise<Scraped> | null = null;

  constructor(sources: Sources) {
    this.#sources = sources;
  }

  /** Callers that come while a text is made get the same: so many scrapers cost no more than one. */
  scrape(): Promise<Scraped> {
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
    return { text: await this.#exposition.text(this.name), contentType: this.#exposition.contentType };
  }
}
