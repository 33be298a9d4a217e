/** The connection below TLS: it has what the one above has lost when it was given up. */
import type { Socket } from 'node:net';

/** @returns the connection that carries this one; undefined: it is none with TLS */
export function belowTls(socket: Socket): Socket | undefined {
  // Node shows it under no other name.
  return (socket as { readonly _parent?: Socket })._parent;
}
