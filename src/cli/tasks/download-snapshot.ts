/**
 * Downloads a snapshot of a running node into a file. After a cut the download goes on where it was; the SHA-256 that the node
 * states decides whether the file is what it has sent.
 */
import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open as openFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { ApiError, checkAnswer } from '../../client/api-error.ts';
import { tokenOf } from '../../client/request/token.ts';
import { parseHash } from '../../replication/history-hash.ts';
import { type Position, parsePosition } from '../../replication/position.ts';
import { systemWorld } from '../../runtime/system-world.ts';
import { BackupError } from '../../store/backup/backup-error.ts';
import { checkRoom, ROOM_BYTES } from '../../store/backup/room.ts';
import type { Report } from '../../store/backup/seal.ts';
import { CommandError } from '../command-error.ts';
import { Cuts, despiteCuts } from '../cuts.ts';
import type { Shown } from '../options/node.ts';

const SNAPSHOT_TYPE = 'application/vnd.sqlite3';
/** Snapshots that are begun, when the node drops one during the download, or sends other bytes than it states. */
const MAX_BEGUN = 3;
/** Whole snapshots that a server sends in place of the rest of one, for one download. */
const MAX_RESTARTS = 3;
/** Answers "not now" in a row. */
const MAX_WAITS = 120;
/** Longest and shortest pause after an answer "not now", in milliseconds. */
const MAX_PAUSE_MS = 5_000;
const PAUSE_MS = 100;
/** Time without a byte after which a connection counts as cut, in milliseconds. */
const STALL_MS = 60_000;

/** Where a node has a snapshot. */
interface Place {
  readonly position: Position;
  /** When the node named it, in milliseconds since 1970. */
  readonly commitTime: number;
  readonly url: string;
}

/** What has been downloaded. */
export interface Downloaded {
  readonly position: Position;
  /** The history hash there; null: the node does not know it. */
  readonly hash: bigint | null;
  /** When the node named the snapshot as that of its present position, in milliseconds since 1970. */
  readonly commitTime: number;
  /** Whether the node says that it needs tokens, or shows its master a token or a certificate; older nodes do not say it. */
  readonly needsTokens: boolean;
}

/** The node does not have the snapshot any more. */
class SnapshotLost extends Error {}

/**
 * @param node `http://HOST:PORT`
 * @param into path of the file, where none is
 * @returns what the snapshot is of
 * @throws CommandError, ApiError, BackupError if the disk has no room, or what `fetch` throws when the node cannot be reached
 */
export async function downloadSnapshot(
  node: string,
  shown: Shown,
  into: string,
  report: Report,
): Promise<Downloaded> {
  const file = await openFile(into, 'wx', 0o600);
  try {
    for (let begun = 1; ; begun += 1) {
      const place = await placeOf(node.replace(/\/+$/, ''), shown, begun > 1);
      try {
        const { position, commitTime } = place;
        return { position, commitTime, ...(await new Download(place, file, into, shown, report).run()) };
      } catch (error) {
        if (!(error instanceof SnapshotLost)) throw error;
        if (begun === MAX_BEGUN)
          throw new CommandError(`the download has failed ${begun} times: ${error.message}`);
      }
    }
  } finally {
    await file.close();
  }
}

/** Has the node make a snapshot, or name the one that it has. @param hasAnswered whether the node has answered before */
async function placeOf(node: string, shown: Shown, hasAnswered: boolean): Promise<Place> {
  for (let waits = 0; ; waits += 1) {
    const begin = (): Promise<Response> => ask(`${node}/v1/snapshot`, shown);
    const response = await (hasAnswered || waits > 0 ? despiteCuts(begin) : begin());
    if (response.status === 307) return parsePlace(node, response.headers.get('location') ?? '');
    await waitOrThrow(response, waits);
  }
}

/** The token is for this node only, so nothing of the URL counts but the name of the snapshot. */
function parsePlace(node: string, location: string): Place {
  const parsed = URL.parse(location, `${node}/v1/snapshot`);
  const [, runId, offset] = /\/v1\/snapshots\/([0-9a-f]{40})\/(\d{1,16})$/.exec(parsed?.pathname ?? '') ?? [];
  const position = parsePosition(`${runId}:${offset}`);
  const query = parsed?.search ?? '';
  if (position === null || !/^(?:\?sha256=[0-9a-f]{64})?$/.test(query)) {
    throw new CommandError('the node does not say where its snapshot is; is it a psyncd?');
  }
  return { position, commitTime: systemWorld.now(), url: `${node}/v1/snapshots/${runId}/${offset}${query}` };
}

async function ask(
  url: string,
  { token: shown, transport }: Shown,
  headers: Readonly<Record<string, string>> = {},
  signal?: AbortSignal,
): Promise<Response> {
  const token = await tokenOf(shown);
  const { fetch } = transport ?? globalThis;
  return fetch(url, {
    redirect: 'manual',
    headers: {
      ...headers,
      'accept-encoding': 'identity',
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    },
    ...(signal && { signal }),
  });
}

/** Waits as long as a node says that cannot answer now. @throws ApiError for every other answer */
async function waitOrThrow(response: Response, waits: number): Promise<void> {
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
  const isNotNow = response.status === 503 || response.status === 429;
  if (isNotNow && Number.isFinite(seconds) && waits < MAX_WAITS) {
    await response.body?.cancel();
    await pause(Math.min(Math.max(PAUSE_MS, seconds * 1_000), MAX_PAUSE_MS));
    return;
  }
  await checkAnswer(response, SNAPSHOT_TYPE);
  throw new CommandError(`the node has answered with status ${response.status}`);
}

/** One snapshot on its way into the file. */
class Download {
  readonly #place: Place;
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #shown: Shown;
  readonly #report: Report;
  #sum: Hash = createHash('sha256');
  #received = 0;
  /** Bytes since the last look at the room; infinitely many: the first look at that of this answer is still to come. */
  #unlooked = 0;
  /** null: no answer has told it yet. */
  #total: number | null = null;
  #etag = '';
  #digest = '';
  #hash: bigint | null = null;
  #needsTokens = false;
  readonly #cuts = new Cuts();
  #restarts = 0;

  /** @param path of the file */
  constructor(place: Place, file: FileHandle, path: string, shown: Shown, report: Report) {
    this.#place = place;
    this.#file = file;
    this.#path = path;
    this.#shown = shown;
    this.#report = report;
  }

  /**
   * @returns what the answers have told
   * @throws SnapshotLost when it has to be begun anew
   */
  async run(): Promise<Pick<Downloaded, 'hash' | 'needsTokens'>> {
    await this.#begin();
    for (let waits = 0; this.#total === null || this.#received < this.#total; ) {
      const stalled = new AbortController();
      const timer = setTimeout(() => stalled.abort(new Error('no byte has come in time')), STALL_MS);
      try {
        const response = await this.#ask(stalled.signal);
        if (response.status === 410 || response.status === 412 || response.status === 416) {
          throw new SnapshotLost('the node no longer has the snapshot');
        }
        if (response.status !== 200 && response.status !== 206) {
          await waitOrThrow(response, waits);
          waits += 1;
          continue;
        }
        await this.#accept(response);
        for await (const part of response.body ?? []) {
          await this.#take(part);
          timer.refresh();
        }
        if (this.#received < (this.#total ?? 0)) throw new TypeError('the connection was closed');
      } catch (error) {
        await this.#cut(error);
      } finally {
        clearTimeout(timer);
        // A node that goes on sending would keep this process running.
        stalled.abort();
      }
    }
    if (`sha-256=:${this.#sum.digest('base64')}:` !== this.#digest) {
      throw new SnapshotLost('what has come is not what the node says that it has sent: the SHA-256 differs');
    }
    return { hash: this.#hash, needsTokens: this.#needsTokens };
  }

  /** Forgets what has come. */
  async #begin(): Promise<void> {
    await this.#file.truncate(0);
    this.#sum = createHash('sha256');
    this.#received = 0;
    this.#total = null;
  }

  #ask(signal: AbortSignal): Promise<Response> {
    const range = { range: `bytes=${this.#received}-`, 'if-range': this.#etag };
    return ask(this.#place.url, this.#shown, this.#received === 0 ? {} : range, signal);
  }

  /** Reads the headers of an answer with the snapshot, or with the rest of it. */
  async #accept(response: Response): Promise<void> {
    await checkAnswer(response, SNAPSHOT_TYPE);
    const { headers } = response;
    if (response.status === 200 && this.#received > 0) {
      this.#restarts += 1;
      if (this.#restarts > MAX_RESTARTS) {
        throw new CommandError(
          `the connection was cut ${this.#restarts} times, and each time the whole snapshot came in place of the rest; is there a proxy that removes Range?`,
        );
      }
      await this.#begin();
    }
    const [, start, total] = /^bytes (\d+)-\d+\/(\d+)$/.exec(headers.get('content-range') ?? '') ?? [];
    const length = response.status === 200 ? headers.get('content-length') : total;
    const isRest =
      response.status === 200 || (Number(start) === this.#received && this.#total === Number(total));
    const digest = headers.get('repr-digest') ?? '';
    if (!isRest || !/^\d+$/.test(length ?? '') || !/^sha-256=:[\w+/=]{44}:$/.test(digest)) {
      throw new CommandError('the node has answered with something else than the rest of its snapshot');
    }
    if (this.#received > 0 && digest !== this.#digest) throw new SnapshotLost('the snapshot has changed');
    this.#total = Number(length);
    this.#unlooked = Number.POSITIVE_INFINITY;
    this.#digest = digest;
    this.#etag = headers.get('etag') ?? '';
    this.#hash = parseHash(headers.get('psync-history-hash') ?? '');
    if (headers.get('psync-needs-tokens') === 'true') this.#needsTokens = true;
  }

  async #take(part: Uint8Array): Promise<void> {
    const total = this.#total ?? 0;
    if (this.#received + part.length > total) throw new CommandError('the node sends more than it has said');
    // Here, because a stream that nobody reads loses what has come when its connection is cut.
    if (this.#unlooked >= ROOM_BYTES) {
      this.#unlooked = 0;
      await checkRoom(this.#path, total - this.#received);
    }
    // A full disk may take a part of them: only the next write says why.
    for (let done = 0; done < part.length; ) {
      const { bytesWritten } = await this.#file.write(part, done, part.length - done, this.#received + done);
      done += bytesWritten;
    }
    this.#sum.update(part);
    this.#received += part.length;
    this.#unlooked += part.length;
    this.#cuts.forget();
    this.#report(this.#received, total);
  }

  /** Pauses after a cut of the connection. @throws any other error, and the cut if there were too many */
  async #cut(error: unknown): Promise<void> {
    const isOther = [SnapshotLost, CommandError, ApiError, BackupError].some((kind) => error instanceof kind);
    const isOfDisk = error instanceof Error && 'syscall' in error && 'code' in error && !('cause' in error);
    if (isOther || isOfDisk) throw error;
    const all = this.#total === null ? '' : ` after ${this.#received} of ${this.#total} bytes`;
    await this.#cuts.pause(error, all);
  }
}
