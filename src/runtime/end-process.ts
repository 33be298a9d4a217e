/**
 * Ends this process, also while a call of the system hangs. `process.exit` waits for the threads in which Node makes calls of the
 * file system, and a call in a folder whose disk has gone away may never return. A program that takes this one's place ends those
 * threads, and gives the exit code; the process 1 of a container could not kill itself instead.
 */
import { existsSync } from 'node:fs';

/**
 * To be called when all durable state is closed, or may be left as it is. Listeners of `exit` are called, as by `process.exit`.
 * Where no program can take the place of this one (Windows, or Node's own file is gone), it is `process.exit`.
 * @param code exit code
 */
export function endProcess(code: number): void {
  const { execve, execPath, platform } = process;
  if (execve === undefined || platform === 'win32' || !existsSync(execPath)) return process.exit(code);
  process.emit('exit', code);
  execve(execPath, [execPath, '--eval', `process.exitCode = ${code}`], {});
}
