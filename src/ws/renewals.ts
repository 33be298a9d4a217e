/** New tokens that followers show on their open WebSockets before the present ones expire. */
import type { Access } from '../access/access.ts';
import { LimitProblem } from '../access/access-problem.ts';
import { Buckets } from '../access/buckets.ts';
import type { Principal, Watch } from '../access/principal.ts';
import { parseJson } from '../keyspace/json/json.ts';
import type { Log } from '../node/ports/world.ts';
import { Problem } from '../node/problem.ts';
import { endAfterError, endWith } from '../web/feed-access.ts';
import type { WebSocketFollower } from './follower-socket.ts';

/** How many new tokens one follower may show at once, and how many a second in the long run. */
export const RENEWALS_AT_ONCE = 5;
const RENEWALS_PER_SECOND = 0.1;

export class Renewals {
  readonly #access: Access;
  readonly #log: Pick<Log, 'error'>;

  /** @param log gets the errors that nobody expects */
  constructor(access: Access, log: Pick<Log, 'error'>) {
    this.#access = access;
    this.#log = log;
  }

  /**
   * Lets the follower show new tokens. It gets no answer to a good one; the feed ends with one that is no good, or that does not
   * cover what it follows.
   * @param address of the follower's client
   * @param move counts the follower for the owner of a new token; it may throw a Problem
   */
  allow(
    socket: WebSocketFollower,
    watch: Watch,
    address: string,
    move: (principal: Principal) => void,
  ): void {
    let isBusy = false;
    // Most followers never show a second token.
    let rate: Buckets | null = null;
    socket.hear((text) => {
      rate ??= new Buckets(RENEWALS_PER_SECOND, RENEWALS_AT_ONCE, () => performance.now());
      const { allowed, seconds } = rate.take(socket.peer);
      if (isBusy || !allowed) {
        endWith(socket, new LimitProblem('the follower shows too many tokens', seconds));
        return;
      }
      isBusy = true;
      this.#authenticated(text, address)
        .then((principal) => {
          move(principal);
          watch.renew(principal);
        })
        .catch((error: unknown) => {
          watch.end();
          endAfterError(this.#log, socket, error);
        })
        .finally(() => {
          isBusy = false;
        });
    });
  }

  async #authenticated(text: Buffer, address: string): Promise<Principal> {
    return await this.#access.authenticateToken(tokenIn(text), address);
  }
}

/** @throws Problem BAD_REQUEST if the message is anything but `{"type":"auth","token":TOKEN}` */
function tokenIn(text: Buffer): string {
  const wrong = new Problem('BAD_REQUEST', 'a follower says nothing but {"type":"auth","token":TOKEN}');
  let message: unknown;
  try {
    message = parseJson(text);
  } catch {
    throw wrong;
  }
  if (typeof message !== 'object' || message === null) throw wrong;
  const { type, token } = message as Readonly<Record<string, unknown>>;
  if (type !== 'auth' || typeof token !== 'string') throw wrong;
  return token;
}
