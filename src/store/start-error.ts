/** The node cannot start with this data folder. The message is one line that names the file and the remedy. */
export class StartError extends Error {
  override readonly name = 'StartError';
}

/**
 * A file is damaged: its bytes are not those that were written. At the start, nothing was changed; later, the node
 * cannot continue with the file.
 */
export class DamageError extends StartError {}

/** Another process has the data folder open. */
export class InUseError extends StartError {}
