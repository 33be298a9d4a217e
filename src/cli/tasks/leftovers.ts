/** Removes what killed commands have left, and says so. */
import { systemWorld } from '../../runtime/system-world.ts';
import { removeLeftovers } from '../../store/backup/partials.ts';
import { printable } from '../output/printable.ts';

/** @param folder in which the command is about to make a file of its own */
export function tidyUp(folder: string): void {
  for (const path of removeLeftovers(folder, systemWorld.now())) {
    process.stderr.write(`psyncd: removed ${printable(path)}, which a command that was killed has left\n`);
  }
}
