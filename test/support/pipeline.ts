/** One connection on which requests are sent without waiting for the answers before them. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';

const STATUS_LINE = /HTTP\/1\.1 (\d{3}) /g;
/** The longest start of a status line that the end of a chunk may cut off. */
const LINE_START = 12;

export class Pipeline {
  readonly #socket: Socket;
  readonly #host: string;
  #sent = 0;
  #rest = '';
  /** How many answers have come, by status. */
  readonly statuses = new Map<number, number>();
  closed = false;

  private constructor(socket: Socket, host: string) {
    this.#socket = socket;
    this.#host = host;
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => this.#read(text));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.closed = true;
    });
  }

  static async to(t: TestContext, node: ChildNode): Promise<Pipeline> {
    const socket = connect(node.port, '127.0.0.1');
    t.after(() => socket.destroy());
    await once(socket, 'connect');
    return new Pipeline(socket, `127.0.0.1:${node.port}`);
  }

  /** Answers so far. */
  get answered(): number {
    return [...this.statuses.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Sends them in one piece. @param requests method, path, body (as JSON if it is no text) */
  send(requests: readonly (readonly [string, string, (string | object)?])[]): void {
    this.#sent += requests.length;
    this.#socket.write(requests.map((each) => this.#format(...each)).join(''));
  }

  /** Resolves when all that was sent is answered. */
  async drained(): Promise<void> {
    await until('all is answered', () => this.answered === this.#sent, 60_000);
  }

  end(): void {
    this.#socket.end();
  }

  #format(method: string, path: string, body: string | object = ''): string {
    const [text, type] =
      typeof body === 'string' ? [body, 'text/plain'] : [JSON.stringify(body), 'application/json'];
    const head = `${method} ${path} HTTP/1.1\r\nhost: ${this.#host}\r\ncontent-type: ${type}\r\n`;
    return `${head}content-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;
  }

  #read(text: string): void {
    const all = this.#rest + text;
    let end = 0;
    for (const match of all.matchAll(STATUS_LINE)) {
      const status = Number(match[1]);
      this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1);
      end = match.index + match[0].length;
    }
    this.#rest = all.slice(Math.max(end, all.length - LINE_START));
  }
}
