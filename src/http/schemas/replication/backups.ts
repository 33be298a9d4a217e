/** Schema of the backups by a schedule, in `/v1/replication`. */
import { COUNT, position } from '../common/members.ts';

/** Failures of what a node puts into a target. */
export const failing = {
  type: ['object', 'null'],
  description: 'The last failure; null: there was none, or a success came after it.',
  required: ['since', 'at', 'code'],
  properties: {
    since: {
      type: 'integer',
      description: 'When the first of the failures since the last success was, in milliseconds since 1970.',
    },
    at: { type: 'integer', description: 'When the last one was, in milliseconds since 1970.' },
    code: {
      type: 'string',
      description: 'A code of docs/backup.md, or that of a problem; the log says more.',
    },
  },
} as const;

export const backups = {
  type: ['object', 'null'],
  description:
    'Backups by the schedule since the start of the process; null: the node makes none (`--backup-to`).',
  required: ['running', 'lastSuccessAt', 'last', 'failures', 'failing'],
  properties: {
    running: {
      type: 'boolean',
      description: 'Whether the node looks at the target now, or makes a backup.',
    },
    waitsFor: {
      type: ['string', 'null'],
      description:
        'Why the node makes no backup now. `master`: it is a replica that does not follow its master; `upstream` says why. `role`: it has another ' +
        'role than `--backup-role` names. Null: nothing but the interval, or `failing`.',
    },
    lastSuccessAt: {
      type: ['integer', 'null'],
      description:
        'When the target was last known to have a backup of the position that the node had, or a young one, in milliseconds since 1970; null: not yet.',
    },
    last: {
      type: ['object', 'null'],
      description: 'The last backup that this process has made.',
      required: ['name', 'position', 'at', 'bytes', 'durationMs'],
      properties: {
        name: { type: 'string', description: 'Its name in the target.' },
        position,
        at: { type: 'integer', description: 'When the entries were so, in milliseconds since 1970.' },
        bytes: { ...COUNT, description: 'Its length.' },
        durationMs: COUNT,
      },
    },
    gone: {
      type: ['object', 'null'],
      description:
        'The last backup of this process that the target had not any more, without a later one in its place: somebody has deleted it, or the disk of ' +
        'the target is not mounted. Null: none.',
      required: ['name', 'at'],
      properties: {
        name: { type: 'string', description: 'Its name in the target.' },
        at: { type: 'integer', description: 'When the node noticed that, in milliseconds since 1970.' },
      },
    },
    failures: { ...COUNT, description: 'Number of backups that failed.' },
    failing,
  },
} as const;
