/** `redis-server` in a process of its own, as a peer to compare with. It has its own folder, and ignores the system's settings. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { until } from '../src/cli/until.ts';
import { isOnPath } from './on-path.ts';
import type { Scope, Stoppable } from './scope.ts';
import { keyAt, VALUE } from './workload.ts';

const FILL_CHUNK = 1_000;
const FILLED_WITHIN_MS = 60_000;

export const HAS_REDIS = isOnPath('redis-server');

export class Redis implements Stoppable {
  readonly port: number;
  readonly #process: ChildProcess;
  readonly #socket: Socket;
  #text = '';

  private constructor(child: ChildProcess, port: number, socket: Socket) {
    this.#process = child;
    this.port = port;
    this.#socket = socket;
    socket.setEncoding('latin1');
    socket.on('error', () => undefined);
    socket.on('data', (text: string) => {
      this.#text += text;
    });
  }

  /**
   * Starts Redis without saving to disk, which would disturb it, and without the five seconds for which it waits for more
   * replicas before it begins a full resync.
   */
  static start(scope: Scope): Promise<Redis> {
    return scope.start(async () => {
      const port = await freePort();
      const folder = await mkdtemp(join(scope.folder, 'redis-'));
      const flags = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder];
      const child = spawn('redis-server', [...flags, '--save', '', '--repl-diskless-sync-delay', '0'], {
        stdio: ['ignore', 'ignore', 'inherit'],
      });
      const socket = await until('redis-server answers', () => connected(port));
      return new Redis(child, port, socket);
    });
  }

  /** Sends a command. @returns its answer, as RESP */
  async ask(command: string): Promise<string> {
    this.#text = '';
    this.#socket.write(`${command}\r\n`);
    while (!isWhole(this.#text)) await once(this.#socket, 'data');
    return this.#text;
  }

  /** Sets the first `entries` keys. */
  async fill(entries: number): Promise<void> {
    this.#text = '';
    for (let from = 0; from < entries; from += FILL_CHUNK) {
      let chunk = '';
      for (let index = from; index < Math.min(entries, from + FILL_CHUNK); index += 1) {
        chunk += `*3\r\n$3\r\nSET\r\n$15\r\n${keyAt(index)}\r\n$${VALUE.length}\r\n${VALUE}\r\n`;
      }
      if (!this.#socket.write(chunk)) await once(this.#socket, 'drain');
    }
    await until('everything is in', () => this.#text.length === entries * '+OK\r\n'.length, FILLED_WITHIN_MS);
    if (!/^(\+OK\r\n)*$/.test(this.#text.slice(0, 5_000))) throw new Error('Redis has refused a write');
  }

  /** @returns the lines of a section of INFO, by their names */
  async info(section: string): Promise<Readonly<Record<string, string>>> {
    const lines = (await this.ask(`INFO ${section}`)).split('\r\n');
    return Object.fromEntries(lines.map((line) => line.split(':', 2) as [string, string]));
  }

  async stop(): Promise<void> {
    this.#socket.destroy();
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exited = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await exited;
  }
}

function isWhole(text: string): boolean {
  if (!text.endsWith('\r\n')) return false;
  const [, length] = /^\$(\d+)\r\n/.exec(text) ?? [];
  return length === undefined || text.length >= Number(length) + length.length + '$\r\n\r\n'.length;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function connected(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  return socket;
}
