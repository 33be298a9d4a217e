/**
 * What followers are told: JSON, made once and shared by all who get it, also in the form that their transport gives it.
 */
import { quoted } from '../../keyspace/json/json.ts';
import { toJsonValue } from '../../keyspace/json/json-value.ts';
import type { ListedEntry } from '../../keyspace/page.ts';
import type { Prefixes } from '../../keyspace/prefixes.ts';
import type { FullResyncReason } from '../../replication/decide.ts';
import type { Offset, RunId } from '../../replication/position.ts';
import { assertNever, type Command, type Run } from '../../stream/command.ts';
import { KeySearch } from './key-search.ts';

/**
 * How a message looks on a transport.
 * @param json one event, without a line end
 * @param position where somebody resumes who has taken it; null: it says nothing about that
 */
export type Framing = (json: string, position: string | null) => Buffer;

export class Message {
  readonly json: string;
  /** Where somebody resumes who has taken it; null: it says nothing about that. */
  readonly position: string | null;
  /** It tells of a write; snapshots, bookmarks and the like do not. */
  readonly isChange: boolean;
  #framing: Framing | null = null;
  #frame: Buffer | null = null;

  constructor(json: string, position: string | null, isChange = false) {
    this.json = json;
    this.position = position;
    this.isChange = isChange;
  }

  /** Nearly always asked for by one transport only: the last one's is kept. */
  framed(framing: Framing): Buffer {
    if (this.#frame === null || this.#framing !== framing) {
      this.#framing = framing;
      this.#frame = framing(this.json, this.position);
    }
    return this.#frame;
  }
}

/** A snapshot of so many entries follows. Its position is good for nothing before `synced` has come. */
export function resetMessage(position: string, reason: FullResyncReason, keys: number): Message {
  return new Message(`{"type":"reset","position":"${position}","reason":"${reason}","keys":${keys}}`, null);
}

export function entryMessage({ key, value, version, expiresAt }: ListedEntry): Message {
  const json = `{"type":"entry","key":${JSON.stringify(key)},${valueJson(value ?? Buffer.alloc(0))},"version":${version},"expiresAt":${expiresAt}}`;
  return new Message(json, null);
}

export function syncedMessage(position: string): Message {
  return new Message(`{"type":"synced","position":"${position}"}`, position);
}

/** @param head where the node stands: who has been told as much has everything that was there when it was answered */
export function continueMessage(position: string, head: string): Message {
  return new Message(`{"type":"continue","position":"${position}","head":"${head}"}`, position);
}

/** Nothing of the follower's happened up to here. */
export function bookmarkMessage(position: string): Message {
  return new Message(`{"type":"bookmark","position":"${position}"}`, position);
}

/** A snapshot will come; others are being given theirs. */
export const WAITING = new Message('{"type":"waiting"}', null);

/** @param extra more members, such as the position to resume from */
export function errorMessage(
  code: string,
  detail: string,
  extra: Readonly<Record<string, unknown>> = {},
): Message {
  return new Message(JSON.stringify({ type: 'error', code, detail, ...extra }), null);
}

/** Which commands of a run belong together, and which of its bytes they are; both half open. */
export interface GroupRange {
  readonly first: number;
  readonly last: number;
  readonly start: number;
  readonly end: number;
}

/** Calls back for each command that stands alone and each transaction, in order, but not for those that do nothing. */
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

/** A command that stands alone, or the commands of one transaction. */
export class Group {
  readonly #commands: readonly Command[];
  /** Where each command ends: the version of what it sets. */
  readonly #versions: readonly number[];
  readonly #position: string;
  readonly #isBatch: boolean;
  /** How many bytes of the stream it takes. */
  readonly bytes: number;
  /** Where it ends. */
  readonly end: Offset;
  /** Of a group that has one key only, so that everybody who wants some of it wants all of it. */
  #only: Message | null = null;
  /** Of a group that has more keys. */
  #effects: Effects | null = null;
  /** What was made last of a group that has more keys: others often want the same of them. */
  #last: { readonly wanted: readonly number[]; readonly message: Message } | null = null;

  /** @param run what was committed, after the offset `base` */
  constructor(run: Run, base: number, runId: RunId, { first, last, start, end }: GroupRange) {
    this.#commands = run.commands.slice(first, last);
    this.#versions = run.ends.slice(first, last).map((at) => base + at);
    this.#position = `${runId}:${base + end}`;
    // EXEC stands between the last command and the boundary.
    this.#isBatch = run.ends[last - 1] !== end;
    this.bytes = end - start;
    this.end = (base + end) as Offset;
  }

  /** Each key that it changes, in order, as often as it changes; null for all keys at once. */
  get keys(): readonly (string | null)[] {
    return this.#commands.flatMap(keysOf);
  }

  /** The message that it keeps for everybody who wants the same; null: it has made none. */
  get kept(): Message | null {
    return this.#only ?? this.#last?.message ?? null;
  }

  /** The follower's part of it, as one message; null: there is none. */
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

/** What commands do to each of their keys, in order. */
class Effects {
  readonly #commands: readonly Command[];
  readonly #versions: readonly number[];
  readonly #keys: (string | null)[] = [];
  /** Of each key: which of the commands has it. */
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

  /** Which of the keys are wanted. */
  wantedBy(prefixes: Prefixes): readonly number[] {
    return this.#search.find(prefixes);
  }

  /** What is done to the wanted keys, each as the members of a JSON object. */
  changes(wanted: readonly number[]): readonly string[] {
    return wanted.map((index) => {
      const owner = this.#owners[index] as number;
      const command = this.#commands[owner] as Command;
      return changeJson(command, this.#keys[index] as string | null, this.#versions[owner] as number);
    });
  }
}

/** The keys that a command changes; null for all keys at once. */
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

/** @param of one of the command's keys */
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
