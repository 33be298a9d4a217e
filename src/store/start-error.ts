/** The node cannot come up with this data folder. The message is one line, and names the file and the way out. */
export class StartError extends Error {
  override readonly name = 'StartError';
}

/** A file is not what was written. At the start nothing was changed; found later, the node cannot go on with the file. */
export class DamageError extends StartError {}
