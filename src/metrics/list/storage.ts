/** Metrics of files and of what waits for them. */
import { flag, type Metric, value } from '../metric.ts';

export const STORAGE: readonly Metric[] = [
  {
    name: 'psyncd_data_bytes',
    help: 'Size of the keyspace file',
    kind: 'gauge',
    read: ({ node }) => value(node.storage.fileBytes),
  },
  {
    name: 'psyncd_overlay_entries',
    help: 'Entries in memory that the keyspace file does not hold yet',
    kind: 'gauge',
    read: ({ node }) => value(node.storage.overlayEntries),
  },
  {
    name: 'psyncd_overlay_bytes',
    help: 'Their memory, about; writers wait when it reaches --overlay-size',
    kind: 'gauge',
    read: ({ node }) => value(node.storage.overlayBytes),
  },
  {
    name: 'psyncd_applier_behind_bytes',
    help: 'Bytes of the stream that the keyspace file does not hold yet',
    kind: 'gauge',
    read: ({ node }) => value(node.storage.unappliedBytes),
  },
  {
    name: 'psyncd_journal_bytes',
    help: 'Bytes of the stream in the journal',
    kind: 'gauge',
    read: ({ node }) => value(node.storage.journalBytes),
  },
  {
    name: 'psyncd_journal_commits_total',
    help: 'Commits to the journal; the writes of one turn share one',
    kind: 'counter',
    read: ({ state }) => value(state.journal.commits),
  },
  {
    name: 'psyncd_journal_sync_seconds',
    help: 'How long fsyncs of the journal took; with --fsync always whole commits, with --fsync no only those that writes ask for',
    kind: 'histogram',
    read: ({ state }) => [{ took: state.journal.syncs }],
  },
  {
    name: 'psyncd_checkpoint_seconds',
    help: 'How long checkpoints of the journal took; requests are answered meanwhile',
    kind: 'histogram',
    read: ({ state }) => [{ took: state.checkpoints }],
  },
  {
    name: 'psyncd_snapshots_kept',
    help: 'Snapshots of /v1/snapshot that can be downloaded now',
    kind: 'gauge',
    read: ({ node }) => value(node.snapshots.copies),
  },
  {
    name: 'psyncd_snapshots_bytes',
    help: 'Their room on the disk, and that of removed ones that are still being downloaded; at most --snapshot-budget',
    kind: 'gauge',
    read: ({ node }) => value(node.snapshots.bytes),
  },
  {
    name: 'psyncd_snapshots_downloads',
    help: 'Downloads of snapshots that are going on',
    kind: 'gauge',
    read: ({ node }) => value(node.snapshots.downloads),
  },
  {
    name: 'psyncd_snapshots_made_total',
    help: 'Snapshots that the node has made for downloads',
    kind: 'counter',
    read: ({ node }) => value(node.snapshots.made),
  },
  {
    name: 'psyncd_snapshots_failed_total',
    help: 'Snapshots for downloads that the node could not make',
    kind: 'counter',
    read: ({ node }) => value(node.snapshots.failed),
  },
  {
    name: 'psyncd_snapshots_sent_bytes_total',
    help: 'Bytes of snapshots that were read for downloads',
    kind: 'counter',
    read: ({ node }) => value(node.snapshots.sentBytes),
  },
  {
    name: 'psyncd_backup_last_success_timestamp_seconds',
    help: 'When --backup-to was last known to have a backup of the position of the node, or a young one, in seconds since 1970; 0: not since the start',
    kind: 'gauge',
    read: ({ node: { backups } }) => value(backups === null ? null : (backups.lastSuccessAt ?? 0) / 1_000),
  },
  {
    name: 'psyncd_backup_last_duration_seconds',
    help: 'How long the last backup by the schedule took',
    kind: 'gauge',
    read: ({ node: { backups } }) => value(backups?.last ? backups.last.durationMs / 1_000 : null),
  },
  {
    name: 'psyncd_backup_last_size_bytes',
    help: 'Its length',
    kind: 'gauge',
    read: ({ node: { backups } }) => value(backups?.last?.bytes ?? null),
  },
  {
    name: 'psyncd_backup_failures_total',
    help: 'Backups by the schedule that failed; the log says why',
    kind: 'counter',
    read: ({ node: { backups } }) => value(backups?.failures ?? null),
  },
  {
    name: 'psyncd_archive_lag_bytes',
    help: 'Bytes of the stream that --archive-to does not have',
    kind: 'gauge',
    read: ({ node: { archive } }) => value(archive?.lagBytes ?? null),
  },
  {
    name: 'psyncd_archive_last_success_timestamp_seconds',
    help: 'When --archive-to last got a part of the stream, or was known to have all of it, in seconds since 1970; 0: not since the start',
    kind: 'gauge',
    read: ({ node: { archive } }) => value(archive === null ? null : (archive.lastSuccess ?? 0) / 1_000),
  },
  {
    name: 'psyncd_archive_failures_total',
    help: 'Attempts to archive a part of the stream, or to make the backup before it, that failed; the log says why',
    kind: 'counter',
    read: ({ node: { archive } }) => value(archive?.failures ?? null),
  },
  {
    name: 'psyncd_archive_restarts_total',
    help: 'How often the archive began anew with a new backup, and got a gap: --archive-journal-limit, a nearly full disk, a full resync',
    kind: 'counter',
    read: ({ node: { archive } }) => value(archive?.restarts ?? null),
  },
  {
    name: 'psyncd_disk_free_bytes',
    help: 'Bytes that are free for the node on the disk of the data folder, in whole MiB',
    kind: 'gauge',
    read: ({ diskFreeBytes }) => value(diskFreeBytes),
  },
  {
    name: 'psyncd_disk_full',
    help: '1 if the last commit failed because the disk was full, else 0',
    kind: 'gauge',
    read: ({ state }) => flag(state.journal.isFull),
  },
];
