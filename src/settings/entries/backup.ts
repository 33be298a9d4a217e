/** Settings of backups by a schedule. They stay while the node runs. */
import { backupKeep, filled, formatBackupKeep, oneOf } from '../parse.ts';
import { FIXED, type Setting, time } from '../setting.ts';

const ROLES = ['any', 'replica', 'master'] as const;

export const BACKUP = {
  /** null: the node makes no backups. */
  backupTo: {
    placeholder: 'TARGET',
    initial: null,
    parse: filled,
    help:
      'where the node puts backups by itself: a folder that exists, or s3://BUCKET/PREFIX (with S3_ENDPOINT, AWS_REGION, AWS_ACCESS_KEY_ID, ' +
      'AWS_SECRET_ACCESS_KEY); see docs/backup.md',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  backupEvery: {
    ...time('1h', '1s', '8760h'),
    help: 'how often the node makes a backup; it makes none when nothing was written',
    idleWithout: ['backupTo'],
    isLive: false,
    schema: { type: 'integer', minimum: 1, description: `Milliseconds. ${FIXED}` },
  },
  /** null: the node deletes none. */
  backupKeep: {
    placeholder: 'RULES',
    initial: null,
    parse: backupKeep,
    isList: true,
    show: formatBackupKeep,
    help:
      'which backups of its history the node keeps: AGE=PERIOD, of the backups younger than AGE one for each PERIOD, such as 24h=1h,30d=1d; ' +
      'without it, it deletes none',
    needs: ['backupTo'],
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  backupRole: {
    placeholder: 'ROLE',
    initial: 'any',
    parse: oneOf(...ROLES),
    help: 'the role in which the node makes backups: replica, master or any',
    idleWithout: ['backupTo'],
    isLive: false,
    schema: { type: 'string', enum: ROLES, description: FIXED },
  },
} as const satisfies Readonly<Record<string, Setting>>;
