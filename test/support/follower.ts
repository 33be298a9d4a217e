/**
 * A follower of `/v1/changes` as somebody else would write it: three transports, one interface. It shares nothing with
 * `src/client`, holds every event against openapi.yaml, and an event's SSE id against its position.
 */
import assert from 'node:assert/strict';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import type { Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { WebSocket } from 'ws';
import { checkAnswer, document } from './contract.ts';

export type Transport = 'websocket' | 'sse' | 'ndjson';
export const TRANSPORTS: readonly Transport[] = ['websocket', 'sse', 'ndjson'];

export interface Change {
  readonly type: string;
  readonly key?: string;
  readonly value?: string;
  readonly encoding?: 'utf8' | 'base64';
  readonly version?: number;
  readonly expiresAt?: number | null;
}

export interface FeedEvent extends Change {
  readonly position?: string;
  readonly changes?: readonly Change[];
  /** Of `reset`. */
  readonly reason?: string;
  readonly keys?: number;
  /** Of `continue`. */
  readonly head?: string;
  /** Of `error`. */
  readonly code?: string;
  readonly detail?: string;
}

/** How it ended. */
export interface FollowerEnd {
  /** Of the HTTP answer; 101 for a WebSocket. */
  readonly status: number;
  /** The body of an answer that is no stream. */
  readonly body: string;
  /** The stream was ended, and not broken. */
  readonly isWhole: boolean;
  /** Of a WebSocket. */
  readonly closeCode: number | null;
  readonly reason: string;
}

export interface FollowOptions {
  readonly transport?: Transport;
  /** What stands behind the `?`, as it is sent. */
  readonly query?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Of a WebSocket. */
  readonly subprotocols?: readonly string[];
}

const PATIENCE_MS = 30_000;
/** What says nothing about where to resume. */
const WITHOUT_ID: ReadonlySet<string> = new Set(['reset', 'entry', 'waiting', 'error']);

const ajv = new Ajv2020({ strict: false, formats: { int64: true } });
ajv.addSchema({ $id: 'document', components: document.components });
const isEvent = ajv.compile({ $ref: 'document#/components/schemas/ChangeEvent' });

export class TestFollower implements AsyncIterable<FeedEvent> {
  readonly transport: Transport;
  /** Everything that came, in order, also what was not asked for yet. */
  readonly received: FeedEvent[] = [];
  ended: FollowerEnd | null = null;
  /** What an EventSource would send when it connects anew. */
  lastEventId: string | null = null;
  /** How long an EventSource would wait before that. */
  retryMs: number | null = null;
  #asked = 0;
  #wake: () => void = () => undefined;
  #connection: Socket | null = null;
  #leave: () => void = () => undefined;
  #webSocket: WebSocket | null = null;

  private constructor(transport: Transport) {
    this.transport = transport;
  }

  static follow(t: TestContext, url: string, options: FollowOptions = {}): TestFollower {
    const { transport = 'ndjson', query = '', headers = {}, subprotocols = ['psync.v1.json'] } = options;
    const follower = new TestFollower(transport);
    const path = `/v1/changes${query === '' ? '' : `?${query}`}`;
    t.after(() => follower.cut());
    if (transport === 'websocket') follower.#openWebSocket(url, path, headers, subprotocols);
    else follower.#openStream(url, path, headers);
    return follower;
  }

  /** @returns the next event; null when there are no more */
  async next(): Promise<FeedEvent | null> {
    while (this.#asked === this.received.length && this.ended === null) await this.#something();
    const event = this.received[this.#asked];
    if (event === undefined) return null;
    this.#asked += 1;
    return event;
  }

  /** The events up to the first one that is wanted, and that one. */
  async take(isLast: (event: FeedEvent) => boolean): Promise<FeedEvent[]> {
    const taken: FeedEvent[] = [];
    for await (const event of this) {
      taken.push(event);
      if (isLast(event)) return taken;
    }
    throw new Error(`it ended: ${JSON.stringify(this.ended)} after ${JSON.stringify(taken.slice(-3))}`);
  }

  /** The events up to the first of this type, and that one. */
  to(type: string): Promise<FeedEvent[]> {
    return this.take((event) => event.type === type);
  }

  /** So many changes; bookmarks between them are left out. */
  async changes(count: number): Promise<FeedEvent[]> {
    const taken: FeedEvent[] = [];
    while (taken.length < count) {
      const [...events] = await this.take(({ type }) => type !== 'bookmark' && type !== 'waiting');
      taken.push(events.at(-1) as FeedEvent);
    }
    return taken;
  }

  /** Everything up to the end. */
  async all(): Promise<FeedEvent[]> {
    const taken: FeedEvent[] = [];
    for await (const event of this) taken.push(event);
    return taken;
  }

  async whenEnded(): Promise<FollowerEnd> {
    while (this.ended === null) await this.#something();
    return this.ended;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<FeedEvent> {
    for (let event = await this.next(); event !== null; event = await this.next()) yield event;
  }

  /** Goes, as somebody would who has had enough. */
  close(): void {
    this.#leave();
  }

  /** The connection breaks. */
  cut(): void {
    this.#webSocket?.terminate();
    this.#connection?.destroy();
    this.#leave();
  }

  /** It does not read any more, what the system has received included. */
  pause(): void {
    this.#connection?.pause();
  }

  resume(): void {
    this.#connection?.resume();
  }

  /** Of a WebSocket: says something. */
  say(data: string | Buffer): void {
    this.#webSocket?.send(data);
  }

  async #something(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve, reject) => {
      this.#wake = resolve;
      timer = setTimeout(() => {
        const last = JSON.stringify(this.received.slice(-3)).slice(0, 500);
        reject(new Error(`${this.transport}: nothing for ${PATIENCE_MS} ms, after ${last}`));
      }, PATIENCE_MS);
    }).finally(() => clearTimeout(timer));
  }

  #openWebSocket(
    url: string,
    path: string,
    headers: FollowOptions['headers'],
    subprotocols: readonly string[],
  ): void {
    const socket = new WebSocket(url.replace(/^http/, 'ws') + path, [...subprotocols], {
      headers: headers ?? {},
      perMessageDeflate: false,
      maxPayload: 0,
    });
    this.#webSocket = socket;
    this.#leave = () => socket.close();
    let refused: { status: number; body: string } | null = null;
    socket.on('upgrade', (response: IncomingMessage) => {
      this.#connection = response.socket;
    });
    socket.on('error', () => undefined);
    socket.on('unexpected-response', (_request: ClientRequest, response: IncomingMessage) => {
      void text(response).then((body) => {
        refused = { status: response.statusCode ?? 0, body };
        socket.terminate();
      });
    });
    socket.on('message', (data: Buffer, isBinary) => {
      assert.equal(isBinary, false);
      this.#take(data.toString('utf8'));
    });
    socket.on('close', (code, reason) => {
      const { status, body } = refused ?? { status: 101, body: '' };
      const isWhole = code !== 1006;
      this.#end({ status, body, isWhole, closeCode: code, reason: reason.toString('utf8') });
    });
  }

  #openStream(url: string, path: string, headers: FollowOptions['headers']): void {
    const accept = this.transport === 'sse' ? 'text/event-stream' : 'application/x-ndjson';
    const { hostname, port } = new URL(url);
    const options = { hostname, port, path, headers: { accept, ...headers }, agent: false } as const;
    const outgoing = request(options);
    this.#leave = () => outgoing.destroy();
    const broken = { body: '', isWhole: false, closeCode: null, reason: '' };
    outgoing.on('socket', (socket) => {
      this.#connection = socket;
    });
    outgoing.on('error', () => this.#end({ ...broken, status: 0 }));
    outgoing.on('response', (response) => {
      const status = response.statusCode ?? 0;
      if (status !== 200) {
        void text(response).then((body) => {
          checkAnswer({ method: 'GET', path, status, headers: response.headers, body: Buffer.from(body) });
          this.#end({ ...broken, status, body, isWhole: response.complete });
        });
        return;
      }
      checkAnswer({ method: 'GET', path, status, headers: response.headers, body: null });
      assert.equal(response.headers['content-type'], accept);
      const lines = new Lines((line) => this.#line(line));
      response.on('data', (chunk: Buffer) => lines.push(chunk));
      response.on('error', () => undefined);
      response.on('close', () => {
        if (response.complete) assert.equal(lines.rest, 0, 'half an event at the end');
        this.#end({ ...broken, status, isWhole: response.complete });
      });
    });
    outgoing.end();
  }

  #isRetry = false;
  #id: string | null = null;
  #data: string | null = null;

  #line(line: string): void {
    if (this.transport === 'ndjson') {
      this.#take(line);
      return;
    }
    const retry = /^retry: (\d+)$/.exec(line)?.[1];
    if (retry !== undefined) {
      this.retryMs = Number(retry);
      this.#isRetry = true;
      return;
    }
    if (line !== '') {
      const [, field, value] = /^(id|data): (.*)$/s.exec(line) ?? [];
      assert.ok(field !== undefined, `a line that is neither id nor data: ${line.slice(0, 80)}`);
      if (field === 'id') this.#id = value ?? '';
      else this.#data = value ?? '';
      return;
    }
    // A `retry` may stand alone.
    const mayBeEmpty = this.#isRetry;
    this.#isRetry = false;
    if (mayBeEmpty && this.#data === null && this.#id === null) return;
    assert.ok(this.#data !== null, 'an event without data');
    const event = this.#take(this.#data);
    assert.equal(this.#id, WITHOUT_ID.has(event.type) ? null : event.position, `the id of ${event.type}`);
    if (this.#id !== null) this.lastEventId = this.#id;
    this.#id = null;
    this.#data = null;
  }

  #take(json: string): FeedEvent {
    const event = JSON.parse(json) as FeedEvent;
    assert.ok(isEvent(event), `${ajv.errorsText(isEvent.errors)}: ${json.slice(0, 300)}`);
    this.received.push(event);
    this.#wake();
    return event;
  }

  #end(end: FollowerEnd): void {
    this.ended ??= end;
    this.#wake();
  }
}

/** Lines of bytes that come in pieces; no piece is looked at twice. */
class Lines {
  readonly #line: (line: string) => void;
  #open: Buffer[] = [];

  constructor(line: (line: string) => void) {
    this.#line = line;
  }

  get rest(): number {
    return this.#open.reduce((sum, { length }) => sum + length, 0);
  }

  push(chunk: Buffer): void {
    let from = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      this.#open.push(chunk.subarray(from, end));
      this.#line(Buffer.concat(this.#open).toString('utf8'));
      this.#open = [];
      from = end + 1;
    }
    if (from < chunk.length) this.#open.push(chunk.subarray(from));
  }
}

async function text(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

/** The value of an event or an entry. */
export function bytesOf({ value = '', encoding }: Change): Buffer {
  return Buffer.from(value, encoding === 'base64' ? 'base64' : 'utf8');
}

/** The offset of `<run ID>:<offset>`. */
export function offsetOf(position: string | undefined): number {
  const at = Number(position?.split(':')[1]);
  assert.ok(Number.isSafeInteger(at), `${position} is no position`);
  return at;
}
