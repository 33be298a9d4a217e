/** A child process in this folder that reports when it is ready and answers questions. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Scope, Stoppable } from './scope.ts';

export class Child implements Stoppable {
  readonly #process: ChildProcess;
  readonly #ended: Promise<never>;

  private constructor(child: ChildProcess, ended: Promise<never>) {
    this.#process = child;
    this.#ended = ended;
  }

  /** @param script a file of this folder */
  static start(
    scope: Scope,
    script: string,
    flags: Readonly<Record<string, string | number>>,
  ): Promise<Child> {
    return scope.start(async () => {
      const path = fileURLToPath(new URL(script, import.meta.url));
      const words = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
      const child = spawn(process.execPath, [path, ...words], {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      });
      const ended = once(child, 'exit').then(() => {
        throw new Error(`${script} has ended`);
      });
      // Prevents an unhandled rejection when no answer is awaited.
      ended.catch(() => undefined);
      await Promise.race([once(child, 'message'), ended]);
      return new Child(child, ended);
    });
  }

  async ask<T>(question: string): Promise<T> {
    const answer = once(this.#process, 'message');
    this.#process.send(question);
    return (await Promise.race([answer, this.#ended]))[0] as T;
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exited = once(this.#process, 'exit');
    this.#process.kill();
    await exited;
  }
}
