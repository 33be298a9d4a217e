/** A command could not do what it was asked for: its message goes to standard error, and the exit code is 1. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
}
