/** The access of a node without tokens: everybody may do everything. */
import { Access } from '../../src/access/access.ts';
import { systemWorld } from '../../src/runtime/system-world.ts';

const silent = (): void => undefined;

export function openAccess(): Access {
  const log = { info: silent, warn: silent, error: silent };
  return new Access(log, { anonymousRights: [], authFailures: 10 }, systemWorld);
}
