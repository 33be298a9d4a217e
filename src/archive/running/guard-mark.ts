/**
 * Notes in the target that the node needs tokens. A base says only what was so when it was made, and the bytes of the stream do not say
 * it at all, so without the note a restore of a later moment would make a node that is open to everybody.
 */
import type { BackupTarget } from '../../node/ports/backup-target.ts';
import { hasObject } from '../looks.ts';
import { guardName } from '../names.ts';

const TEXT =
  'A node of this archive needs tokens. Without this object, psyncd restore --to-time and --to-position may make a node that needs none.\n';

interface GuardParts {
  readonly target: BackupTarget;
  /** First part of the names in the target. */
  readonly cluster: string;
  /** Whether the node needs tokens. */
  readonly isGuarded: () => boolean;
}

export class GuardMark {
  readonly #parts: GuardParts;
  #isPut = false;

  constructor(parts: GuardParts) {
    this.#parts = parts;
  }

  /** Whether the note is wanted and may not be there. */
  get isDue(): boolean {
    return !this.#isPut && this.#parts.isGuarded();
  }

  /** @throws TargetError, the signal's reason */
  async put(signal: AbortSignal): Promise<void> {
    const { cluster, target } = this.#parts;
    await target.put(guardName(cluster), { bytes: Buffer.from(TEXT) }, { signal });
    this.#isPut = true;
  }

  /** Looks whether the target has kept the note; if not, it is due again. @throws TargetError, the signal's reason */
  async look(signal: AbortSignal): Promise<void> {
    const { cluster, target } = this.#parts;
    if (this.#isPut) this.#isPut = await hasObject(target, guardName(cluster), { signal });
  }
}
