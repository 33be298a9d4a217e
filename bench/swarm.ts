/**
 * Many WebSocket clients in one process of its own, as cheap as they can be: they count messages, and look into those of a
 * few. Raw sockets, because a library's clients would be the limit instead of the server.
 *
 * `INDEX` in the path stands for the number of the client. The parent says `measure` and gets what has come since it said so last.
 */
import { connect, type Socket } from 'node:net';
import { Command } from 'commander';
import { positive } from './options.ts';

export interface Received {
  readonly messages: number;
  readonly bytes: number;
  /** Connections that have ended. */
  readonly lost: number;
  /** Milliseconds from when a write was sent until a client had its message, sampled, in order. */
  readonly latencies: readonly number[];
  readonly seconds: number;
}

/** So many clients look into their messages. */
const SAMPLED = 10;
/** So many connections are opened at a time. */
const OPENING = 100;
/** What a writer puts in front of its values: nanoseconds of the machine's monotonic clock. */
const STAMP = /"value":"(\d+)-/;

const { port, path, subprotocol, clients } = new Command()
  .requiredOption('--port <N>', '', positive)
  .requiredOption('--path <PATH>')
  .requiredOption('--subprotocol <NAME>')
  .requiredOption('--clients <N>', '', positive)
  .parse()
  .opts<{ port: number; path: string; subprotocol: string; clients: number }>();

let messages = 0;
let bytes = 0;
let lost = 0;
let latencies: number[] = [];
let since = process.hrtime.bigint();

/** Counts whole frames, however they are cut. */
class Frames {
  readonly #look: boolean;
  #held = Buffer.alloc(0);
  /** Of the frame that has begun: how much of it has not come. */
  #missing = 0;

  constructor(look: boolean) {
    this.#look = look;
  }

  push(chunk: Buffer): void {
    bytes += chunk.length;
    let at = 0;
    let data = chunk;
    if (this.#missing > 0) {
      const part = Math.min(this.#missing, data.length);
      this.#missing -= part;
      at = part;
      if (this.#missing > 0) return;
      messages += 1;
    }
    if (this.#held.length > 0) {
      data = Buffer.concat([this.#held, data.subarray(at)]);
      at = 0;
      this.#held = Buffer.alloc(0);
    }
    while (at < data.length) {
      const short = (data[at + 1] ?? 0) & 0x7f;
      const header = short < 126 ? 2 : short === 126 ? 4 : 10;
      if (data.length - at < header) break;
      const length =
        short < 126
          ? short
          : short === 126
            ? data.readUInt16BE(at + 2)
            : Number(data.readBigUInt64BE(at + 2));
      const end = at + header + length;
      if (end > data.length) {
        if (this.#look) break;
        this.#missing = end - data.length;
        return;
      }
      // Pings are left out.
      if (((data[at] as number) & 0x0f) === 1) messages += 1;
      if (this.#look) this.#stamp(data.toString('latin1', at + header, end));
      at = end;
    }
    if (at < data.length) this.#held = Buffer.from(data.subarray(at));
  }

  #stamp(text: string): void {
    const stamp = STAMP.exec(text)?.[1];
    if (stamp !== undefined) latencies.push(Number(process.hrtime.bigint() - BigInt(stamp)) / 1e6);
  }
}

function open(index: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    const frames = new Frames(index < SAMPLED);
    let head = '';
    socket.on('error', reject);
    socket.on('connect', () => {
      socket.write(
        `GET ${path.replace('INDEX', String(index))} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
          `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: ${subprotocol}\r\n\r\n`,
      );
    });
    const greet = (chunk: Buffer): void => {
      head += chunk.toString('latin1');
      const end = head.indexOf('\r\n\r\n');
      if (end === -1) return;
      if (!head.startsWith('HTTP/1.1 101')) {
        reject(new Error(head.split('\r\n')[0]));
        return;
      }
      socket.off('data', greet);
      socket.on('data', (data) => frames.push(data));
      socket.on('close', () => {
        lost += 1;
      });
      frames.push(Buffer.from(head.slice(end + 4), 'latin1'));
      resolve(socket);
    };
    socket.on('data', greet);
  });
}

for (let first = 0; first < clients; first += OPENING) {
  const some = Array.from({ length: Math.min(OPENING, clients - first) }, (_, index) => open(first + index));
  await Promise.all(some);
}
process.send?.({ kind: 'ready' });
process.on('message', () => {
  const now = process.hrtime.bigint();
  const seconds = Number(now - since) / 1e9;
  latencies.sort((one, other) => one - other);
  process.send?.({ kind: 'received', messages, bytes, lost, latencies, seconds });
  [messages, bytes, latencies, since] = [0, 0, [], now];
});
process.once('disconnect', () => process.exit(0));
