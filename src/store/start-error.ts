/** The node cannot come up with this data folder. The message is one line, and names the file and the way out. */
export class StartError extends Error {
  override readonly name = 'StartError';
}
