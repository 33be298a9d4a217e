/** What a command names is not there: its message goes to standard error, and the exit code is 3. */
export class NotThere extends Error {
  override readonly name = 'NotThere';
}

/** A command has failed: its message goes to standard error, and the exit code is 1. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
}
