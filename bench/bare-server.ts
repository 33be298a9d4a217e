/** A bare server, such as bare-fastify.ts, in a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Stoppable } from './scope.ts';

const READY = /^listening on (http:\/\/\S+)$/;

export class BareServer implements Stoppable {
  readonly url: string;
  readonly process: ChildProcess;

  private constructor(child: ChildProcess, url: string) {
    this.process = child;
    this.url = url;
  }

  /**
   * @param script a file of this folder
   * @throws Error when the process ends instead of listening; the reason is on standard error
   */
  static async start(script: string): Promise<BareServer> {
    const path = fileURLToPath(new URL(script, import.meta.url));
    const child = spawn(process.execPath, [path], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
    if (child.stdout === null) throw new Error('the child has no standard output');
    for await (const line of createInterface({ input: child.stdout })) {
      const url = READY.exec(line)?.[1];
      if (url !== undefined) return new BareServer(child, url);
    }
    throw new Error('the bare server has ended');
  }

  async stop(): Promise<void> {
    const child = this.process;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill();
    await exited;
  }
}
