/** An archive that does not have what is asked for, or not as it was written. The message is one line for people. */
export class ArchiveError extends Error {
  override readonly name = 'ArchiveError';
}

/** An object of an archive that is not what was written; another one may have the same bytes. */
export class DamagedObject extends ArchiveError {}
