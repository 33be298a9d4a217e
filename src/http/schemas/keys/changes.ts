/** Schemas of `/v1/changes`: the events of the feed. */
import { FULL_RESYNC_REASONS } from '../../../replication/decide.ts';
import { MAX_LIMIT, MAX_PREFIXES, MAX_WAIT } from '../../../web/feed-query.ts';
import { referenceTo } from '../common/described.ts';
import { EXAMPLE_POSITION } from '../common/examples.ts';
import { expiresAt, key, position, version } from '../common/members.ts';

const ENCODED = {
  value: { type: 'string' },
  encoding: { type: 'string', enum: ['utf8', 'base64'] },
} as const;
const CHANGES = {
  set: { key, ...ENCODED, version, expiresAt },
  delete: { key },
  expiry: { key, expiresAt },
  flush: {},
} as const;

/** A change in a batch has no position of its own. */
export const change = {
  $id: 'Change',
  description: 'What happened to a key; `flush`: all keys are gone.',
  examples: [{ type: 'delete', key: 'user:2' }],
  oneOf: [
    variant('set', CHANGES.set),
    variant('delete', CHANGES.delete),
    variant('expiry', CHANGES.expiry),
    variant('flush', CHANGES.flush),
  ],
} as const;

export const changeEvent = {
  $id: 'ChangeEvent',
  description: 'One event of the feed. More types may be added: ignore what you do not know.',
  examples: [
    {
      type: 'set',
      key: 'user:1',
      value: 'Ada',
      encoding: 'utf8',
      version: 1048576,
      expiresAt: null,
      position: EXAMPLE_POSITION,
    },
  ],
  oneOf: [
    variant(
      'reset',
      {
        position,
        reason: { type: 'string', enum: FULL_RESYNC_REASONS },
        keys: { type: 'integer', minimum: 0, description: 'How many entries follow.' },
      },
      'A snapshot follows: keep what you have until `synced`. Its position is good for nothing before.',
    ),
    variant('entry', CHANGES.set, 'An entry of the snapshot.'),
    variant('synced', { position }, 'That was the snapshot: it replaces what you had.'),
    variant(
      'continue',
      { position },
      'Nothing is lost: what follows your position comes.',
      // Not required: in a cluster that is being upgraded some nodes do not say it yet.
      { head: { ...position, description: 'Where the node stands: told as much, you have caught up.' } },
    ),
    variant('set', { ...CHANGES.set, position }),
    variant('delete', { ...CHANGES.delete, position }),
    variant('expiry', { ...CHANGES.expiry, position }),
    variant('flush', { ...CHANGES.flush, position }),
    variant(
      'batch',
      { changes: { type: 'array', items: referenceTo(change) }, position },
      'Changes that were made at once: apply all of them or none.',
    ),
    variant('bookmark', { position }, 'Nothing of yours happened up to here: resume from here.'),
    variant(
      'expiring',
      { expiresAt: { type: 'integer', description: 'Unix time in milliseconds.' } },
      'The token expires then, and the stream ends; on a WebSocket a new token may be shown before.',
    ),
    variant('waiting', {}, 'A snapshot will come; others are being given theirs.'),
    {
      ...variant('error', { code: { type: 'string' }, detail: { type: 'string' } }, 'The stream ends.'),
      additionalProperties: true,
    },
  ],
} as const;

export const changesQuery = {
  type: 'object',
  additionalProperties: false,
  properties: {
    position: {
      type: 'string',
      description:
        'Go on from here: the last position that you were told. `now`: only what comes. Absent: from a snapshot.',
    },
    'from-time': {
      type: 'string',
      description:
        'Go on with the changes of this time and later, instead of `position`: a date and time with its offset from UTC such as ' +
        '`2026-11-29T05:00:00Z`, or milliseconds since 1970, by the clock with which this node took them. At least everything since then comes, and what ' +
        'came within the second before may come too. If the journal does not reach back so far, the answer is 410 ' +
        '`POSITION_LOST` with the `earliest` time, whatever `snapshot` says.',
    },
    prefix: {
      type: 'array',
      items: { type: 'string' },
      maxItems: MAX_PREFIXES,
      description: 'Only keys that begin so; may be given several times. Absent: all keys.',
    },
    snapshot: {
      type: 'boolean',
      default: true,
      description:
        'Whether a position that is lost is answered with a snapshot; if not, with 410 `POSITION_LOST`.',
    },
    limit: {
      type: 'integer',
      minimum: 1,
      maximum: MAX_LIMIT,
      description: 'End after so many changes. Entries of a snapshot do not count: it is whole or not there.',
    },
    wait: {
      type: 'number',
      minimum: 0,
      maximum: MAX_WAIT,
      description: 'Long poll: end when something has come, and after so many seconds at the latest.',
      // With an example: a page that shows the API waits for the end of an answer.
      examples: [1],
    },
  },
} as const;

const EVENTS = {
  type: 'string',
  contentSchema: { $ref: 'ChangeEvent#' },
} as const;
const EXAMPLE = `{"type":"continue","position":"${EXAMPLE_POSITION}","head":"${EXAMPLE_POSITION}"}`;

/** The feed as it is streamed. */
export const EVENT_STREAMS = {
  'application/x-ndjson': {
    schema: {
      ...EVENTS,
      contentMediaType: 'application/x-ndjson',
      description: 'One `ChangeEvent` a line.',
      examples: [`${EXAMPLE}\n`],
    },
  },
  'text/event-stream': {
    schema: {
      ...EVENTS,
      contentMediaType: 'text/event-stream',
      description: 'The data of each event is one `ChangeEvent`; its id is where to resume.',
      examples: [`id: ${EXAMPLE_POSITION}\ndata: ${EXAMPLE}\n\n`],
    },
  },
} as const;

/** Schema of one form of an event. */
interface Variant<Type extends string, Required, Optional> {
  readonly type: 'object';
  readonly description?: string;
  readonly required: readonly ('type' | keyof Required)[];
  readonly properties: { readonly type: { readonly type: 'string'; readonly const: Type } } & Required &
    Optional;
}

/** @param required members beside `type` that every such event has */
function variant<const Type extends string, const Required extends object, const Optional extends object>(
  type: Type,
  required: Required,
  description?: string,
  optional = {} as Optional,
): Variant<Type, Required, Optional> {
  return {
    type: 'object',
    ...(description === undefined ? {} : { description }),
    required: ['type', ...(Object.keys(required) as (keyof Required)[])],
    properties: { type: { type: 'string', const: type }, ...required, ...optional },
  };
}
