/** `psyncd demo`: shows what psyncd does on this machine. */
import type { Command } from 'commander';

/** Adds the command. */
export function demoCommand(psyncd: Command): void {
  psyncd
    .command('demo')
    .description('a master and two replicas on this machine: real data, cut links, resyncs, a restart')
    .option('--once', 'exit when everything has been shown: 0 if all of it was true, 1 if not')
    .action(async ({ once = false }: { once?: boolean }) => (await import('../demo/demo.ts')).demo(once));
}
