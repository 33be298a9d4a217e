/** `psyncd follow`: prints changes as they come, until Ctrl-C, and reconnects as often as needed. */
import { once } from 'node:events';
import { Cursor } from '../../client/cursor.ts';
import type { FeedEvent } from '../../client/event.ts';
import { type ConnectionState, follow } from '../../client/follow.ts';
import { Client } from '../../client/rest.ts';
import { CommandError } from '../command-error.ts';
import { CommandClient } from '../options/command-client.ts';
import type { Shown } from '../options/node.ts';
import { eventLines } from '../output/event-lines.ts';
import { printable, printableJson } from '../output/printable.ts';

export interface FollowOptions {
  readonly nodes: readonly string[];
  readonly shown: Shown;
  readonly prefixes: readonly string[];
  /** Position to resume from; null: begin with a snapshot. */
  readonly position: string | null;
  /** Milliseconds since 1970: the first node says from which position all changes since then come; null: `position` counts. */
  readonly time: number | null;
  /** Whether the node may send a snapshot. */
  readonly snapshot: boolean;
  /** Whether to print each event as received, one per line. */
  readonly json: boolean;
}

/**
 * Resolves when the user stops it.
 * @returns whether its output still has a reader
 * @throws CommandError, FollowError or fetch's TypeError with the reason why it cannot continue
 */
export async function followChanges(options: FollowOptions): Promise<boolean> {
  const { nodes, prefixes, snapshot, json } = options;
  const position = await startOf(options);
  const cursor = new Cursor(position ?? undefined);
  const abort = new AbortController();
  const stop = (): void => abort.abort();
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  let isRead = true;
  process.stdout.once('error', () => {
    isRead = false;
    stop();
  });
  const connections = new ConnectionNotes(nodes, options.shown, (error) => abort.abort(error));
  try {
    const events = follow({
      urls: nodes,
      ...options.shown,
      prefix: prefixes.length === 0 ? undefined : prefixes,
      position: position ?? undefined,
      snapshot,
      signal: abort.signal,
      onConnection: (state) => connections.note(state),
    });
    for await (const event of events) {
      connections.heard(event);
      const before = cursor.position;
      cursor.take(event);
      await print(event, before, json, abort.signal);
    }
    const { reason } = abort.signal;
    // A stop by the user has no reason of its own, only an AbortError.
    if (reason instanceof Error && reason.name !== 'AbortError') throw reason;
    note(lastWords(cursor.position, options.time !== null));
    return isRead;
  } finally {
    process.off('SIGINT', stop);
    process.off('SIGTERM', stop);
  }
}

/** @returns the position to begin with; null: with a snapshot */
async function startOf({ nodes, shown, position, time, prefixes }: FollowOptions): Promise<string | null> {
  if (time === null) return position;
  const [first = ''] = nodes;
  return new CommandClient(first.replace(/^ws/i, 'http'), shown).positionSince(time, prefixes);
}

/** @param before position before the event */
async function print(
  event: FeedEvent,
  before: string | undefined,
  json: boolean,
  signal: AbortSignal,
): Promise<void> {
  const { stdout } = process;
  const columns = stdout.isTTY ? stdout.columns : null;
  const lines = json ? [printableJson(event)] : eventLines(event, before, columns);
  if (lines.length === 0 || stdout.write(lines.map((line) => `${line}\n`).join(''))) return;
  // Waits for a slow reader of the output; meanwhile the feed is not read.
  await once(stdout, 'drain', { signal }).catch(() => undefined);
}

/** Reports the state of the connection on standard error, without repetition. */
class ConnectionNotes {
  readonly #nodes: readonly string[];
  readonly #shown: Shown;
  readonly #giveUp: (error: Error) => void;
  #hasBeenUp = false;
  #attempts = 0;
  #lost = false;

  /** @param giveUp called with the reason if no node could be reached at the start */
  constructor(nodes: readonly string[], shown: Shown, giveUp: (error: Error) => void) {
    this.#nodes = nodes;
    this.#shown = shown;
    this.#giveUp = giveUp;
  }

  note(state: ConnectionState): void {
    if (state.kind === 'open') this.#hasBeenUp = true;
    if (state.kind !== 'waiting') return;
    this.#attempts += 1;
    if (!this.#hasBeenUp) {
      // At the start, the command fails rather than wait for a missing node.
      if (this.#attempts === this.#nodes.length) this.#explain(state).catch(this.#giveUp);
      return;
    }
    if (this.#lost) return;
    this.#lost = true;
    note(`${state.url}: ${state.detail}; connecting again`);
  }

  heard(event: FeedEvent): void {
    if (!this.#lost || (event.type !== 'continue' && event.type !== 'reset')) return;
    this.#lost = false;
    note(event.type === 'continue' ? 'connected again, nothing is lost' : `connected again: ${event.reason}`);
  }

  /** Asks by HTTP for the reason, because a failed WebSocket does not tell it. */
  async #explain({ url, detail }: ConnectionState & { kind: 'waiting' }): Promise<void> {
    try {
      await new Client(url.replace(/^ws/i, 'http'), this.#shown).replication();
      this.#giveUp(
        new CommandError(`cannot follow ${url}: ${detail}, though the node answers; is it older?`),
      );
    } catch (error) {
      this.#giveUp(error instanceof Error ? error : new CommandError(String(error)));
    }
  }
}

/**
 * Says how to resume. The command line is unknown (npm, npx or psyncd itself), so the text names only the flag to
 * change.
 */
function lastWords(position: string | undefined, isFromTime: boolean): string {
  if (position === undefined || position === 'now')
    return 'stopped before there was a position to go on from';
  const flag = `--position ${position}${isFromTime ? ' in place of --from-time' : ''}`;
  return `stopped; the same again goes on from here with ${flag}`;
}

function note(text: string): void {
  process.stderr.write(`psyncd: ${printable(text)}\n`);
}
