/**
 * The messages of the feed as JSON. The feed makes each message once, and frames it once for each transport; all followers share
 * both.
 */
import { quoted } from '../../../keyspace/json/json-text.ts';
import { toJsonValue } from '../../../keyspace/json/json-value.ts';
import type { ListedEntry } from '../../../keyspace/page.ts';
import type { Prefixes } from '../../../keyspace/prefixes.ts';
import type { FullResyncReason } from '../../../replication/decide.ts';
import type { Offset, RunId } from '../../../replication/position.ts';
import { assertNever, type Command, type Run } from '../../../stream/command.ts';
import { KeySearch } from './key-search.ts';

/**
 * Makes a message's frame for one transport.
 * @param json one event, without a line end
 * @param position position from which a client that has the message resumes; null: the message does not change that position
 */
export type Framing = (json: string, position: string | null) => Buffer;

export class Message {
  readonly json: string;
  /** Position from which a client that has the message resumes; null: the message does not change that position. */
  readonly position: string | null;
  /** Whether the message reports writes. Messages of snapshots, bookmarks and `continue` do not. */
  readonly isChange: boolean;
  /** Framing of `#frame`. */
  #framing: Framing | null = null;
  #frame: Buffer | null = null;

  constructor(json: string, position: string | null, isChange = false) {
    this.json = json;
    this.position = position;
    this.isChange = isChange;
  }

  /** @returns the frame for a transport. The message keeps the last one only, because most messages go to one transport. */
  framed(framing: Framing): Buffer {
    if (this.#frame === null || this.#framing !== framing) {
      this.#framing = framing;
      this.#frame = framing(this.json, this.position);
    }
    return this.#frame;
  }
}

/**
 * Begins a snapshot. A client cannot resume from its position before `synced` has come, because it would lack entries.
 * @param keys number of entries that follow
 */
export function resetMessage(position: string, reason: FullResyncReason, keys: number): Message {
  return new Message(`{"type":"reset","position":"${position}","reason":"${reason}","keys":${keys}}`, null);
}

/** One entry of a snapshot. */
export function entryMessage({ key, value, version, expiresAt }: ListedEntry): Message {
  const json = `{"type":"entry","key":${JSON.stringify(key)},${valueJson(value ?? Buffer.alloc(0))},"version":${version},"expiresAt":${expiresAt}}`;
  return new Message(json, null);
}

/** Ends a snapshot: from now on the client can resume from the snapshot's position. */
export function syncedMessage(position: string): Message {
  return new Message(`{"type":"synced","position":"${position}"}`, position);
}

/**
 * Answers a request for the stream after a position.
 * @param head the node's position; a client that receives this position, or a later one, has caught up
 */
export function continueMessage(position: string, head: string): Message {
  return new Message(`{"type":"continue","position":"${position}","head":"${head}"}`, position);
}

/** Tells a follower that it has all changes of its prefixes up to this position. */
export function bookmarkMessage(position: string): Message {
  return new Message(`{"type":"bookmark","position":"${position}"}`, position);
}

/** Tells a follower that its snapshot comes later, because the feed sends other followers theirs. */
export const WAITING = new Message('{"type":"waiting"}', null);

/** Tells a follower when its token expires. @param expiresAt Unix time in milliseconds */
export function expiringMessage(expiresAt: number): Message {
  return new Message(`{"type":"expiring","expiresAt":${expiresAt}}`, null);
}

/** The last message before the feed closes a follower. @param extra more members, such as the position to resume from */
export function errorMessage(
  code: string,
  detail: string,
  extra: Readonly<Record<string, unknown>> = {},
): Message {
  return new Message(JSON.stringify({ type: 'error', code, detail, ...extra }), null);
}

/** One group in a run: its commands, from `first` up to but not including `last`, and its bytes, from `start` up to `end`. */
export interface GroupRange {
  readonly first: number;
  readonly last: number;
  readonly start: number;
  readonly end: number;
}

/** Calls back for each group of a run, in order, but not for groups without commands. */
export function forEachGroup({ commands, ends, boundaries }: Run, take: (range: GroupRange) => void): void {
  let [first, start] = [0, 0];
  for (const end of boundaries) {
    let last = first;
    while (last < commands.length && (ends[last] as number) <= end) last += 1;
    if (last > first) take({ first, last, start, end });
    first = last;
    start = end;
  }
}

/** A group: one command that is not in a transaction, or the commands of one transaction. A follower gets it as one message. */
export class Group {
  readonly #commands: readonly Command[];
  /** Offset of the end of each command, which is the version of the entry that it sets. */
  readonly #versions: readonly number[];
  readonly #position: string;
  /** Whether the group is a transaction. */
  readonly #isBatch: boolean;
  /** Bytes of the stream that the group takes. */
  readonly bytes: number;
  /** Offset of the end of the group. */
  readonly end: Offset;
  /** Message of a group with one key, which is the same for every follower; null: not made yet, or the group has more keys. */
  #only: Message | null = null;
  /** Effects of a group with more than one key; null: not made yet. */
  #effects: Effects | null = null;
  /** Last message of a group with more than one key, and the indexes of its keys: other followers often want the same keys. */
  #last: { readonly wanted: readonly number[]; readonly message: Message } | null = null;

  /** @param run the run that holds the group @param base offset before the run */
  constructor(run: Run, base: number, runId: RunId, { first, last, start, end }: GroupRange) {
    this.#commands = run.commands.slice(first, last);
    this.#versions = run.ends.slice(first, last).map((at) => base + at);
    this.#position = `${runId}:${base + end}`;
    // A transaction has an EXEC between its last command and its end.
    this.#isBatch = run.ends[last - 1] !== end;
    this.bytes = end - start;
    this.end = (base + end) as Offset;
  }

  /** The keys that the commands change, in order, repeated if they are; null stands for all keys at once. */
  get keys(): readonly (string | null)[] {
    return this.#commands.flatMap(keysOf);
  }

  /** The message that the group keeps for other followers; null: it has made none. */
  get kept(): Message | null {
    return this.#only ?? this.#last?.message ?? null;
  }

  /** Drops the kept message. */
  forget(): void {
    this.#only = null;
    this.#last = null;
  }

  /** @returns one message with the changes of keys that have these prefixes; null: there are none */
  messageFor(prefixes: Prefixes): Message | null {
    if (this.#only !== null) return this.#only;
    const [command] = this.#commands as [Command];
    if (this.#commands.length === 1 && (command.kind !== 'del' || command.keys.length === 1)) {
      const [key] = keysOf(command) as [string | null];
      if (key !== null && !prefixes.matches(key)) return null;
      this.#only = this.#message([changeJson(command, key, this.#versions[0] as number)]);
      return this.#only;
    }
    this.#effects ??= new Effects(this.#commands, this.#versions);
    const wanted = this.#effects.wantedBy(prefixes);
    if (wanted.length === 0) return null;
    if (this.#last !== null && isSame(this.#last.wanted, wanted)) return this.#last.message;
    const message = this.#message(this.#effects.changes(wanted));
    this.#last = { wanted, message };
    return message;
  }

  #message(changes: readonly string[]): Message {
    const body =
      this.#isBatch || changes.length > 1
        ? `"type":"batch","changes":[${changes.map((change) => `{${change}}`).join(',')}]`
        : (changes[0] as string);
    return new Message(`{${body},"position":"${this.#position}"}`, this.#position, true);
  }
}

function isSame(one: readonly number[], other: readonly number[]): boolean {
  return one.length === other.length && one.every((index, at) => index === other[at]);
}

/** The effects of commands on each of their keys, in order. */
class Effects {
  readonly #commands: readonly Command[];
  readonly #versions: readonly number[];
  readonly #keys: (string | null)[] = [];
  /** Index of the command of each key in `#keys`. */
  readonly #owners: number[] = [];
  readonly #search: KeySearch;

  constructor(commands: readonly Command[], versions: readonly number[]) {
    this.#commands = commands;
    this.#versions = versions;
    for (const [index, command] of commands.entries()) {
      for (const key of keysOf(command)) {
        this.#keys.push(key);
        this.#owners.push(index);
      }
    }
    this.#search = new KeySearch(this.#keys);
  }

  /** @returns the indexes of the keys that have these prefixes */
  wantedBy(prefixes: Prefixes): readonly number[] {
    return this.#search.find(prefixes);
  }

  /** @param wanted indexes of keys @returns the effect on each of them, as the members of a JSON object */
  changes(wanted: readonly number[]): readonly string[] {
    return wanted.map((index) => {
      const owner = this.#owners[index] as number;
      const command = this.#commands[owner] as Command;
      return changeJson(command, this.#keys[index] as string | null, this.#versions[owner] as number);
    });
  }
}

/** @returns the keys that a command changes; null stands for all keys at once */
function keysOf(command: Command): readonly (string | null)[] {
  switch (command.kind) {
    case 'flush-all':
      return [null];
    case 'del':
      return command.keys;
    case 'set':
    case 'expire-at':
    case 'persist':
      return [command.key];
    default:
      return assertNever(command);
  }
}

/** @param of one of the command's keys @returns the members of a JSON object */
function changeJson(command: Command, of: string | null, version: number): string {
  const key = JSON.stringify(of);
  switch (command.kind) {
    case 'flush-all':
      return '"type":"flush"';
    case 'del':
      return `"type":"delete","key":${key}`;
    case 'set':
      return `"type":"set","key":${key},${valueJson(command.value)},"version":${version},"expiresAt":${command.expiresAt}`;
    case 'expire-at':
      return `"type":"expiry","key":${key},"expiresAt":${command.expiresAt}`;
    case 'persist':
      return `"type":"expiry","key":${key},"expiresAt":null`;
    default:
      return assertNever(command);
  }
}

function valueJson(bytes: Buffer): string {
  const { value, encoding } = toJsonValue(bytes);
  return `"value":${quoted(value)},"encoding":"${encoding}"`;
}
