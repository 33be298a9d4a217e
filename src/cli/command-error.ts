/** What a command names is not there: its message goes to standard error, and the exit code is 3. */
export class NotThere extends Error {
  override readonly name = 'NotThere';
}

/** A command has failed: its message goes to standard error, and the exit code is 1. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
}

/** A check has found that something is not whole, or cannot tell: the exit code says which, and the message goes to standard error. */
export class NotWhole extends Error {
  override readonly name = 'NotWhole';
  readonly code: number;
  /** null: it was printed already. */
  readonly line: string | null;

  constructor(line: string | null, code: number) {
    super(line ?? '');
    this.line = line;
    this.code = code;
  }
}
