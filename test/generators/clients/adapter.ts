/** What each generated client is tried with, in its own words: a `client.ts` in the folder of each generator exports `connect`. */

/** Operations of a batch, which the types of a client have to admit. */
export type Operation =
  | { op: 'set'; key: string; value: string }
  | { op: 'increment'; key: string; by: number }
  | { op: 'get'; key: string };

export interface Page {
  readonly keys: readonly { readonly key: string }[];
  readonly next: string | null;
}

export interface Adapter {
  /** Sets a key. It fails unless that was done. */
  put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  /** @returns the bytes of the value */
  get(key: string): Promise<ArrayBuffer | Blob>;
  /** @returns the result of each operation */
  batch(operations: Operation[]): Promise<readonly { readonly value?: number | string }[] | undefined>;
  page(prefix: string, after: string | undefined, limit: number): Promise<Page | undefined>;
  /** @returns the code of the error that a read of a missing key is, by way of `typed` */
  codeOf(missing: string): Promise<string | undefined>;
}

export type Connect = (url: string) => Adapter | Promise<Adapter>;

/** Takes a code only if its type is a list of codes, not any text: that is what makes an error a typed one. */
export function typed<Code extends string>(
  code: string extends Code ? never : Code | undefined,
): string | undefined {
  return code;
}

/** Fails with the answer of a call that was to succeed. */
export function failed(answer: unknown): never {
  throw new Error(`the call failed: ${JSON.stringify(answer)}`);
}
