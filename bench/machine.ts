/** Describes the machine and the commit of a result; without them a figure means nothing later. */
import { execFile } from 'node:child_process';
import { cpus, loadavg, totalmem } from 'node:os';
import { promisify } from 'node:util';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  /**
   * Number of threads that wanted a core in the minute before; near 0 unless other programs were working. 0 on Windows.
   */
  readonly loadBefore: number;
  readonly memoryBytes: number;
  readonly platform: string;
  readonly node: string;
  readonly date: string;
  /** With `-dirty` if the tree had changes; null outside a repository. */
  readonly commit: string | null;
}

export async function describeMachine(): Promise<Machine> {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    loadBefore: loadavg()[0] ?? 0,
    memoryBytes: totalmem(),
    platform: `${process.platform} ${process.arch}`,
    node: process.version,
    date: new Date().toISOString(),
    commit: await commit(),
  };
}

async function commit(): Promise<string | null> {
  try {
    const flags = ['describe', '--always', '--abbrev=40', '--dirty', '--exclude=*'];
    const { stdout } = await promisify(execFile)('git', flags, { cwd: import.meta.dirname });
    return stdout.trim();
  } catch {
    // An unpacked archive, or no git: the result is still worth having.
    return null;
  }
}
