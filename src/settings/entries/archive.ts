/** Settings of the archive of the stream. They stay while the node runs. */
import { filled } from '../parse.ts';
import { FIXED, type Setting, size, toggle } from '../setting.ts';

export const ARCHIVE = {
  /** null: the node archives nothing. */
  archiveTo: {
    placeholder: 'TARGET',
    initial: null,
    parse: filled,
    help:
      'where the node archives its stream, for restores to a time or a position: a target as for --backup-to, and it may be the same. The node ' +
      'makes a backup there if there is none; see docs/point-in-time.md',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  archiveJournalLimit: {
    ...size('4gb', '1mb', '1048576gb'),
    help:
      'bytes of the stream that the journal keeps for an archive that is away; beyond that, or on a nearly full disk, the archive begins anew ' +
      'with a new backup, and has a gap. Writes never wait for it',
    idleWithout: ['archiveTo'],
    isLive: false,
    schema: { type: 'integer', minimum: 1, description: `Bytes. ${FIXED}` },
  },
  archiveCompress: {
    ...toggle(),
    help:
      'compress what the node archives. Whoever writes some keys only and can see how much room is free, on a disk that the archive is on, can then ' +
      'find out whether others have written what he guesses',
    isLive: false,
    schema: { type: 'boolean', description: FIXED },
    needs: ['archiveTo'],
  },
} as const satisfies Readonly<Record<string, Setting>>;
