/** Formats an event of the feed as lines for people: columns and colour on a terminal, tabs in a pipe. */
import { styleText } from 'node:util';
import type { FeedChange, FeedEvent, SentEntry } from '../../client/event.ts';
import { parsePosition } from '../../client/position.ts';
import { count, counted } from './info.ts';
import { printable } from './printable.ts';

/** Shortest room for a value, in characters; less would be useless. */
const MIN_VALUE = 24;
const KEY_WIDTH = 24;
const OFFSET_WIDTH = 12;
const KIND_WIDTH = 8;

const COLOURS = {
  reset: 'yellow',
  synced: 'yellow',
  continue: 'green',
  entry: 'dim',
  set: 'green',
  delete: 'red',
  flush: 'red',
  expiry: 'cyan',
  batch: 'magenta',
  history: 'yellow',
} as const;

/**
 * Formats one event. Most lines show only the offset. The whole position stands where a user can resume and the history
 * begins or changes its run ID: `synced`, `continue`, and `history` after the first event under another run ID.
 * @param before position before the event, as a cursor has it
 * @param columns width of the terminal; null: the output is not a terminal
 * @returns lines without line ends; none for events that are not for people
 */
export function eventLines(
  event: FeedEvent,
  before: string | undefined,
  columns: number | null,
): readonly string[] {
  return [...shownLines(event, columns), ...renamingLines(event, before, columns)];
}

function shownLines(event: FeedEvent, columns: number | null): readonly string[] {
  const show = (kind: keyof typeof COLOURS, position: string, ...facts: readonly string[]): string =>
    line(kind, offsetOf(position), facts, columns);
  switch (event.type) {
    case 'reset': {
      const keys = event.keys === undefined ? '' : `, ${counted(event.keys, 'entry', 'entries')}`;
      // Its position cannot be resumed from before `synced`.
      return [show('reset', '', `a snapshot follows: ${event.reason}${keys}`)];
    }
    case 'entry':
      return [show('entry', '', ...entryFacts(event, columns))];
    case 'synced':
      return [milestone('synced', event.position, 'that was the snapshot', columns)];
    case 'continue':
      return [milestone('continue', event.position, 'nothing is lost', columns)];
    case 'batch': {
      const head = show(
        'batch',
        event.position,
        `${counted(event.changes.length, 'change', 'changes')} at once`,
      );
      return [head, ...event.changes.map((change) => changeLine(change, '', columns))];
    }
    case 'set':
    case 'delete':
    case 'expiry':
    case 'flush':
      return [changeLine(event, event.position, columns)];
    case 'bookmark':
    case 'waiting':
    case 'error':
      return [];
  }
}

function renamingLines(
  event: FeedEvent,
  before: string | undefined,
  columns: number | null,
): readonly string[] {
  // These lines show the whole position anyway, or one that cannot be resumed from.
  if (event.type === 'reset' || event.type === 'synced' || event.type === 'continue') return [];
  if (!('position' in event) || event.position === undefined || before === undefined) return [];
  const [was, is] = [parsePosition(before)?.runId, parsePosition(event.position)?.runId];
  if (was === undefined || was === is) return [];
  return [milestone('history', event.position, 'goes on under another run ID', columns)];
}

/** Formats a line with the whole position; in a pipe it replaces the offset. */
function milestone(
  kind: keyof typeof COLOURS,
  position: string,
  fact: string,
  columns: number | null,
): string {
  if (columns === null) return line(kind, position, [fact], columns);
  return line(kind, offsetOf(position), [`${fact}, at ${position}`], columns);
}

function changeLine(change: FeedChange, position: string, columns: number | null): string {
  return line(change.type, offsetOf(position), changeFacts(change, columns), columns);
}

function changeFacts(change: FeedChange, columns: number | null): readonly string[] {
  switch (change.type) {
    case 'set':
      return entryFacts(change, columns);
    case 'delete':
      return [printable(change.key)];
    case 'expiry':
      return [
        padded(printable(change.key), columns),
        expiryText(change.expiresAt) || 'does not expire any more',
      ];
    case 'flush':
      return ['all keys are gone'];
  }
}

function entryFacts(
  { key, value, encoding, expiresAt }: SentEntry,
  columns: number | null,
): readonly string[] {
  const name = padded(printable(key), columns);
  const expiry = expiryText(expiresAt);
  const used = OFFSET_WIDTH + KIND_WIDTH + name.length + expiry.length + 5;
  // Programs behind a pipe get the whole value.
  const room = columns === null ? Number.POSITIVE_INFINITY : Math.max(MIN_VALUE, columns - used);
  const text = encoding === 'base64' ? bytesText(value, room) : shortened(printable(value), room);
  return [name, text, ...(expiry === '' ? [] : [expiry])];
}

function line(
  kind: keyof typeof COLOURS,
  offset: string,
  facts: readonly string[],
  columns: number | null,
): string {
  const said = facts.map(printable);
  const at = printable(offset);
  if (columns === null) return [kind, ...said, ...(at === '' ? [] : [at])].join('\t');
  const name = styleText(COLOURS[kind], kind.padEnd(KIND_WIDTH), { stream: process.stdout });
  return `${at.padStart(OFFSET_WIDTH)} ${name} ${said.join(' ')}`.trimEnd();
}

function offsetOf(position: string): string {
  return position.split(':')[1] ?? '';
}

function padded(text: string, columns: number | null): string {
  return columns === null ? text : text.padEnd(KEY_WIDTH);
}

function shortened(text: string, most: number): string {
  const characters = [...text];
  if (characters.length <= most) return text;
  const rest = `… (${count(characters.length)} characters)`;
  return characters.slice(0, Math.max(1, most - rest.length)).join('') + rest;
}

function bytesText(base64: string, most: number): string {
  const bytes = Buffer.from(base64, 'base64');
  const size = `(${counted(bytes.length, 'byte', 'bytes')})`;
  const shown = Math.max(2, Math.floor((most - size.length - 4) / 2));
  const hex = bytes.toString('hex', 0, shown);
  return `0x${hex}${bytes.length > shown ? '…' : ''} ${size}`;
}

function expiryText(expiresAt: number | null): string {
  if (expiresAt === null) return '';
  const date = new Date(expiresAt);
  return `expires ${Number.isNaN(date.getTime()) ? expiresAt : date.toISOString()}`;
}
