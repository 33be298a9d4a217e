/** Reads `tokens.json` when it changes. */
import type { Steps } from '../../keyspace/json/json.ts';
import { messageOf } from '../../node/ports/failures.ts';
import type { Log, World } from '../../node/ports/world.ts';
import { Turns } from '../../node/turns.ts';
import { logUnexpected, unattended } from '../../node/unattended.ts';
import type { Access } from '../access.ts';
import { fileState, LOOK_MS } from '../file-state.ts';
import { missingTarget, readTokenBytes } from './token-file.ts';
import { TokenListError, tokenListSteps } from './token-list.ts';

export class TokenWatch {
  /** Path of the file. */
  readonly path: string;
  readonly #access: Access;
  readonly #world: World;
  readonly #log: Log;
  #seen = '';
  #lastFailure = '';
  #cancel: () => void = () => undefined;
  #isStopped = false;
  #loading: Promise<unknown> = Promise.resolve();

  constructor(parts: {
    readonly path: string;
    readonly access: Access;
    readonly world: World;
    readonly log: Log;
  }) {
    this.path = parts.path;
    this.#access = parts.access;
    this.#world = parts.world;
    this.#log = parts.log;
  }

  /**
   * Reads the file for the first time, and goes on looking at it.
   * @param isNamed whether a setting names the file: then it must be there. So must the target of a symbolic link
   * @throws Error that says why the tokens cannot be used
   */
  async start(isNamed: boolean): Promise<void> {
    const seen = await fileState(this.path);
    if (isNamed || seen !== '' || missingTarget(this.path) !== null) await this.#load();
    this.#seen = seen;
    this.#lookLater();
  }

  /** Whether the node uses a list of tokens. */
  get isUsed(): boolean {
    return this.#access.hasList;
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel();
  }

  /**
   * Reads the file now, whether it seems to have changed or not; if it cannot be used, the tokens stay as they were.
   * @returns whether the node uses what the file held when this was called, or something newer
   */
  reload(): Promise<boolean> {
    // One after the other: an older list must not take the place of a newer one.
    const done = this.#loading.then(() => this.#reload());
    this.#loading = done;
    return done;
  }

  async #reload(): Promise<boolean> {
    let seen: string | null = null;
    try {
      seen = await fileState(this.path);
      if (seen === '' && !this.#access.hasList) return true;
      await this.#load();
      this.#seen = seen;
      this.#lastFailure = '';
      this.#log.info('tokens-reloaded', {});
      return true;
    } catch (error) {
      const isOfSystem = error instanceof Error && 'code' in error;
      // A list that is wrong stays wrong until it is changed; a file that could not be opened may be readable now.
      if (seen !== null && !isOfSystem) this.#seen = seen;
      const message = messageOf(error);
      if (message !== this.#lastFailure) this.#log.error('tokens-not-reloaded', { error: message });
      this.#lastFailure = message;
      return false;
    }
  }

  #lookLater(): void {
    if (this.#isStopped) return;
    this.#cancel = this.#world.after(LOOK_MS, () => {
      unattended(
        this.#lookAgain().finally(() => this.#lookLater()),
        (error) => logUnexpected(this.#log, 'tokens', error),
      );
    });
  }

  async #lookAgain(): Promise<void> {
    this.#access.tick();
    if ((await fileState(this.path).catch(() => '?')) !== this.#seen) await this.reload();
  }

  async #load(): Promise<void> {
    const bytes = readTokenBytes(this.path);
    if (bytes === null) throw new TokenListError(missingTarget(this.path) ?? 'there is no such file');
    const turns = new Turns(this.#world);
    const records = await inTurns(tokenListSteps(bytes), turns);
    await inTurns(this.#access.replaceSteps(records), turns);
  }
}

/** Takes the steps, and lets the event loop handle other events whenever a turn is over. */
async function inTurns<T>(steps: Steps<T>, turns: Turns): Promise<T> {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    await turns.next();
  }
}
