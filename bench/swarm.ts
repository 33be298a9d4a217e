/**
 * Many cheap WebSocket clients in one process. They count messages, and ten of them read the times in their messages. They use
 * raw sockets, because a library's clients would need more time than the server.
 *
 * `INDEX` in the path stands for the number of the client. The parent sends `measure` and receives the counts since its last
 * question.
 */
import { connect, type Socket } from 'node:net';
import { Command } from 'commander';
import { positive } from './options.ts';

export interface Received {
  readonly messages: number;
  readonly bytes: number;
  /** Number of connections that have ended. */
  readonly lost: number;
  /** Milliseconds from sending a write until a sampled client had its message, in ascending order. */
  readonly latencies: readonly number[];
  readonly seconds: number;
}

/** Number of clients that read the times in their messages. */
const SAMPLED = 10;
/** Number of connections that are opened at a time. */
const OPENING = 100;
/** Begin of a value of steady-writes.ts: nanoseconds of the machine's monotonic clock. */
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

/** Counts whole frames, however their bytes are divided. */
class Frames {
  readonly #look: boolean;
  #held = Buffer.alloc(0);
  /** Bytes of the present frame that have not arrived yet. */
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
      // Only text frames count, not pings.
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
