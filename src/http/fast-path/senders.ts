/**
 * Who sends the writes of the fast path, as limits count them: the same client as on the long way. A connection keeps its last sender, so
 * that not every request makes a name.
 */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { clientName } from '../../access/client-name.ts';
import type { Principal } from '../../access/principal.ts';
import type { Problem } from '../../node/problem.ts';
import type { Sender } from '../../node/write/sender.ts';
import type { Proxies } from '../../web/proxies.ts';

const SENDER = Symbol('sender');
type Known = Socket & { [SENDER]?: NamedSender };

/** @returns the sender of a request, which is a client by its token, or by its address if it has none */
export function senderOf(proxies: Proxies, principal: Principal, request: IncomingMessage): Sender {
  const socket = request.socket as Known;
  const forwarded = request.headers['x-forwarded-for'];
  const known = socket[SENDER];
  if (known?.principal === principal && known.forwarded === forwarded) return known;
  const named = new NamedSender(principal, clientName(principal, proxies.addressOf(request)), forwarded);
  socket[SENDER] = named;
  return named;
}

class NamedSender implements Sender {
  readonly principal: Principal;
  readonly client: string;
  /** What a proxy has said of the client's address; undefined: nothing. */
  readonly forwarded: string | readonly string[] | undefined;

  constructor(principal: Principal, client: string, forwarded: string | readonly string[] | undefined) {
    this.principal = principal;
    this.client = client;
    this.forwarded = forwarded;
  }

  get over(): Problem | null {
    return this.principal.over;
  }

  atDecision(): Problem | null {
    return this.principal.atDecision();
  }
}
