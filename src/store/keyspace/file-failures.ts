/** What a failure at a keyspace file means for the node. */
import { messageOf, StorageError } from '../../node/ports/failures.ts';
import { DamageError } from '../start-error.ts';
import { codeOf, isDamage, storageFailure } from '../storage-failure.ts';

/** Converts errors of one file. Damage also ends the node: any further answer could be wrong. */
export class FileFailures {
  readonly #path: string;
  readonly #failed: (error: Error) => void;
  #closing = false;

  /** @param failed called with the damage */
  constructor(path: string, failed: (error: Error) => void) {
    this.#path = path;
    this.#failed = failed;
  }

  /** @returns what a request gets to see of the error */
  readonly of = (error: unknown): StorageError => {
    if (error instanceof StorageError) return error;
    if (isDamage(codeOf(error)) && !this.#closing)
      this.#failed(new DamageError(damaged(this.#path, messageOf(error))));
    return storageFailure(error, this.#path);
  };

  /** To be called when the file is to be closed: it serves no requests then, so its damage does not end the node. */
  close(): void {
    this.#closing = true;
  }
}

/** One line for people about a damaged file. */
export function damaged(path: string, message: string): string {
  return `${path} is damaged: ${message}; nothing was changed, restore the folder from a copy or choose another with --data`;
}
