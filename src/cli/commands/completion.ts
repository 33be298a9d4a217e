/** `psyncd completion`: a script with which a shell completes commands and flags. */
import { Argument, type Command } from 'commander';

/** Adds the command. */
export function completionCommand(psyncd: Command): void {
  psyncd
    .command('completion')
    .addArgument(new Argument('<shell>').choices(['bash', 'zsh', 'fish']))
    .description(
      'print a script that lets a shell complete commands and flags: source <(psyncd completion bash)',
    )
    .action(async (shell: 'bash' | 'zsh' | 'fish') => {
      const { completionScript } = await import('../output/completion.ts');
      process.stdout.write(completionScript(shell, psyncd));
    });
}
