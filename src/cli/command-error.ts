/** A command has failed: its message goes to standard error, and the exit code is 1. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
}
