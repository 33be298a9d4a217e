/** Who may replicate on one connection: whoever has shown a token with the right `replicate`, in the upgrade or with AUTH. */
import type { Access } from '../access/access.ts';
import { clientName } from '../access/client-name.ts';
import type { Principal, Watch } from '../access/principal.ts';
import { closeCodeOf } from '../node/feed/feed-problems.ts';
import type { Gate } from '../node/ports/stream-socket.ts';
import { Problem } from '../node/problem.ts';
import { CloseCode } from '../replication/close-code.ts';
import type { Socket } from './socket.ts';

export class ReplicaGate implements Gate {
  readonly isOpen: boolean;
  readonly #access: Access;
  readonly #socket: Socket;
  readonly #address: string;
  readonly #move: (principal: Principal) => void;
  #principal: Principal | null = null;
  #watch: Watch | null = null;
  #hasEnded = false;

  /**
   * @param sender who has shown in the upgrade that it may replicate; null: nobody has
   * @param address of the peer, for which tokens that are not valid count
   * @param move counts the connection for the owner of a token that the peer shows in the conversation; it may throw a Problem
   */
  constructor(
    access: Access,
    socket: Socket,
    address: string,
    sender: Principal | null,
    move: (principal: Principal) => void = () => undefined,
  ) {
    this.#access = access;
    this.#socket = socket;
    this.#address = address;
    this.#move = move;
    const refusal = sender === null ? null : this.#admit(sender);
    this.isOpen = sender !== null && refusal === null;
    // Its token may have ended since the upgrade was allowed.
    if (refusal !== null) socket.close(CloseCode.unauthorized, refusal.slice(1));
  }

  get isForAll(): boolean {
    return this.#principal?.isAnybody === true;
  }

  get owner(): unknown {
    return this.#principal?.identity ?? null;
  }

  get client(): string {
    return clientName(this.#principal, this.#address);
  }

  hasShown(token: string): boolean {
    const principal = this.#principal;
    // On an open node every token is as good as none.
    if (principal === null || principal.isAnybody) return false;
    return this.#access.find(`Bearer ${token}`, {})?.identity === principal.identity;
  }

  take(token: string): string | null | Promise<string | null> {
    try {
      const sender = this.#access.authenticateToken(token, this.#address);
      return sender instanceof Promise
        ? sender.then((principal) => this.#shown(principal)).catch(refusalOf)
        : this.#shown(sender);
    } catch (problem) {
      return refusalOf(problem);
    }
  }

  /** The connection has ended. */
  end(): void {
    this.#hasEnded = true;
    this.#watch?.end();
  }

  /** @throws Problem as `move` */
  #shown(principal: Principal): string | null {
    if (principal.has('replicate') && !this.#hasEnded) this.#move(principal);
    return this.#admit(principal);
  }

  #admit(principal: Principal): string | null {
    if (!principal.has('replicate')) return '-NOPERM this token has no right replicate';
    if (this.#hasEnded) return null;
    this.#principal = principal;
    if (this.#watch !== null) this.#watch.renew(principal);
    else {
      this.#watch = this.#access.watch(principal, {
        may: (now) => now.has('replicate'),
        revoked: (problem) => this.#socket.close(closeCodeOf(problem), problem.message),
      });
    }
    return null;
  }
}

/** @returns the error line of Redis for a token that is refused */
function refusalOf(problem: unknown): string {
  if (!(problem instanceof Problem)) throw problem;
  // A limit says nothing of the token: the replica comes again, and takes it for no answer to a hand-over.
  return problem.code === 'UNAUTHORIZED'
    ? '-WRONGPASS the token is not valid'
    : `-LOADING ${problem.message}`;
}
