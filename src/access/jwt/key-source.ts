/** One place with keys for JWTs: a file that is looked at all the time, or a URL that is asked now and then. */

import { showable } from '../../node/ports/peer-words.ts';
import type { Log, World } from '../../node/ports/world.ts';
import { logUnexpected, unattended } from '../../node/unattended.ts';
import { readSmallFile } from '../../runtime/small-file.ts';
import { fileState, LOOK_MS } from '../file-state.ts';
import { fetchKeys, MAX_KEYS_BYTES } from './fetch-keys.ts';
import { type JwtKey, keysOfFile, keysOfSet } from './jwt-key.ts';

/** How often a URL is asked without a reason, in milliseconds. */
const REFRESH_MS = 5 * 60_000;
/** Shortest time between two questions to a URL because a token has an unknown key, or because nobody answered; in milliseconds. */
export const COOL_DOWN_MS = 30_000;

export interface KeyPlace {
  /** `--jwt-jwks` or `--jwt-key-file`. */
  readonly flag: string;
  /** Path of a file, or an `http:` or `https:` URL. */
  readonly place: string;
  /** Whether it is a JWKS: then keys that cannot be used are passed over. */
  readonly isSet: boolean;
}

export interface SourceParts {
  readonly world: World;
  readonly log: Log;
  /** Called after some keys have gone. */
  readonly gone: () => void;
}

export class KeySource {
  readonly #place: KeyPlace;
  readonly #parts: SourceParts;
  readonly #isRemote: boolean;
  #keys: readonly JwtKey[] = [];
  #seen = '';
  #lastFailure = '';
  #askedAt = Number.NEGATIVE_INFINITY;
  #loading: Promise<boolean> | null = null;
  #cancel: () => void = () => undefined;
  readonly #stopped = new AbortController();

  constructor(place: KeyPlace, parts: SourceParts) {
    this.#place = place;
    this.#parts = parts;
    this.#isRemote = /^https?:/i.test(place.place);
  }

  get keys(): readonly JwtKey[] {
    return this.#keys;
  }

  /**
   * Reads a file for the first time, or begins to ask a URL: whoever answers there may start later than this node.
   * @throws Error that names the setting and says why the file has no keys
   */
  async start(): Promise<void> {
    if (this.#isRemote) unattended(this.reload(), this.#unexpected);
    else {
      const { flag, place } = this.#place;
      try {
        this.#seen = await fileState(place);
        this.#take(this.#read());
      } catch (error) {
        throw new Error(`${flag} ${place}: ${reasonOf(error)}`);
      }
      if (this.#keys.length === 0) throw new Error(`${flag} ${place}: there is no key in it`);
    }
    this.#lookLater(this.#isRemote ? COOL_DOWN_MS : LOOK_MS);
  }

  stop(): void {
    this.#stopped.abort();
    this.#cancel();
  }

  /** Reads the keys now; if they cannot be used, those that the node has stay. @returns whether they could be used */
  reload(): Promise<boolean> {
    this.#loading ??= this.#reload().finally(() => {
      this.#loading = null;
    });
    return this.#loading;
  }

  /** Asks a URL for a key that the node lacks, unless it was asked a moment ago. */
  async lacking(): Promise<void> {
    if (!this.#isRemote) return;
    if (this.#loading === null && this.#parts.world.monotonic() - this.#askedAt < COOL_DOWN_MS) return;
    await this.reload();
  }

  async #reload(): Promise<boolean> {
    const { flag, place, isSet } = this.#place;
    const { log, world } = this.#parts;
    this.#askedAt = world.monotonic();
    try {
      if (this.#isRemote) this.#take(keysOfSet(await fetchKeys(place, this.#stopped.signal)));
      else {
        this.#seen = await fileState(place);
        this.#take(this.#read());
      }
      this.#lastFailure = '';
      log.info('jwt-keys-loaded', { from: flag, keys: this.#keys.length, isSet });
      return true;
    } catch (error) {
      if (this.#stopped.signal.aborted) return false;
      const message = showable(reasonOf(error));
      if (message !== this.#lastFailure) log.error('jwt-keys-not-loaded', { from: flag, error: message });
      this.#lastFailure = message;
      return false;
    }
  }

  #read(): readonly JwtKey[] {
    const { place, isSet } = this.#place;
    const text = readSmallFile(place, MAX_KEYS_BYTES).toString('utf8');
    return isSet ? keysOfSet(text) : keysOfFile(text);
  }

  /** Takes over the keys. A key that stays keeps its tokens and their streams. */
  #take(keys: readonly JwtKey[]): void {
    const before = new Map(this.#keys.map((key) => [key.form, key]));
    const after = new Map(keys.map((key) => [key.form, before.get(key.form) ?? key]));
    this.#keys = [...after.values()];
    const gone = [...before.values()].filter(({ form }) => !after.has(form));
    for (const key of gone) key.retire();
    if (gone.length > 0) this.#parts.gone();
  }

  #lookLater(ms: number): void {
    if (this.#stopped.signal.aborted) return;
    this.#cancel = this.#parts.world.after(ms, () => unattended(this.#look(), this.#unexpected));
  }

  async #look(): Promise<void> {
    let next = LOOK_MS;
    try {
      if (this.#isRemote) next = (await this.reload()) ? REFRESH_MS : COOL_DOWN_MS;
      else if ((await fileState(this.#place.place).catch(() => '?')) !== this.#seen) await this.reload();
    } finally {
      this.#lookLater(next);
    }
  }

  readonly #unexpected = (error: unknown): void => logUnexpected(this.#parts.log, 'jwt-keys', error);
}

/** @returns one line; `fetch` hides the reason in the cause */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}
