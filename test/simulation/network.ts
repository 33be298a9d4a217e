/**
 * The network between the machines: it opens connections, and breaks them in every way that networks have.
 *
 *   cut         both sides are told, each in its own time; what was on its way is lost
 *   half-open   nothing passes in one direction or in both, and nobody is told
 *   slow        a few bytes at a time: the sender's outbox fills
 *   parted      two machines cannot reach each other
 */
import type { AskPeer } from '../../src/node/ports/peers.ts';
import type { Dial } from '../../src/node/ports/stream-socket.ts';
import { formatPosition } from '../../src/replication/position.ts';
import type { Chance } from './chance.ts';
import { Conversation } from './conversation.ts';
import type { EventLoop } from './event-loop.ts';
import { FakeSocket } from './fake-socket.ts';
import type { Machine } from './machine.ts';
import { Pipe, type PipeSettings } from './pipe.ts';
import type { Process } from './process.ts';
import type { Referee } from './referee.ts';

interface Connection {
  readonly from: Machine;
  readonly to: Machine;
  readonly dialer: FakeSocket;
  readonly server: FakeSocket;
  /** What the dialer sends, and what the server sends. */
  readonly up: Pipe;
  readonly down: Pipe;
}

/** What the node's own limit of a socket's outbox is. */
const NODE_HIGH_WATER_BYTES = 1024 * 1024;
const NOBODY = 1006;
/** How long it takes to find out that nobody answers, on average. */
const REFUSED_MS = 5;
const UNREACHABLE_MS = 800;
const ASK_TIMEOUT_MS = 1_000;

export class Network {
  readonly #loop: EventLoop;
  readonly #chance: Chance;
  readonly #referee: Referee;
  readonly #settings: PipeSettings;
  readonly #scale: number;
  readonly #machines = new Map<string, Machine>();
  readonly #parted = new Set<string>();
  #open: Connection[] = [];
  #count = 0;

  constructor(loop: EventLoop, chance: Chance, referee: Referee) {
    this.#loop = loop;
    this.#chance = chance;
    this.#referee = referee;
    this.#settings = {
      latencyMs: chance.of([0.2, 1, 5, 20]),
      windowBytes: chance.of([300, 1_500, 6_000]),
      cutOdds: chance.of([0, 0.1, 0.5]),
    };
    // The node stops giving bytes to a socket when so many wait in it.
    this.#scale = Math.ceil(NODE_HIGH_WATER_BYTES / chance.of([400, 1_500, 5_000]));
  }

  join(machine: Machine): void {
    this.#machines.set(machine.url, machine);
  }

  dial(from: Machine, process: Process): Dial {
    return (url, events) => {
      const to = this.#machines.get(url);
      this.#count += 1;
      const conversation = new Conversation({
        handedOut: (runId, at, bytes) => this.#referee.resyncs.handedOut(to as Machine, runId, at, bytes),
        acknowledged: (offset, durable) => this.#referee.resyncs.acknowledges(from, offset, durable),
        announced: (position, reason, asked) => {
          this.#referee.resyncs.announced(to as Machine, position, reason, asked);
        },
        continued: (offset) => {
          if (process.alive) this.#referee.resyncs.continued(to as Machine, from, offset);
        },
      });
      const dialer = new FakeSocket(url, process, this.#scale, (bytes) => conversation.replicaSends(bytes));
      const peer = `${from.name}:${40_000 + this.#count}`;
      this.#loop.at(this.#chance.delay(this.#settings.latencyMs), () => {
        if (!process.alive || dialer.isClosed) return;
        const target = to?.reached ?? null;
        if (to === undefined || target === null || this.#isParted(from, to)) {
          const waitMs = target === null ? REFUSED_MS : UNREACHABLE_MS;
          process.at(this.#chance.delay(waitMs), () => dialer.closed(NOBODY, 'nobody answers'));
          return;
        }
        const server = new FakeSocket(peer, target.process, this.#scale, (bytes) => {
          conversation.masterSends(bytes);
        });
        const connection: Connection = {
          from,
          to,
          dialer,
          server,
          up: this.#pipe((frame) => server.arrived(frame)),
          down: this.#pipe((frame) => dialer.arrived(frame)),
        };
        dialer.connect(connection.up, connection.down);
        server.connect(connection.down, connection.up);
        dialer.listen(events);
        server.open();
        this.#open.push(connection);
        server.listen(target.node.accept(server));
        process.at(this.#chance.delay(this.#settings.latencyMs), () => {
          if (dialer.isClosed) return;
          dialer.open();
          events.opened();
        });
      });
      dialer.listen(events);
      return dialer;
    };
  }

  ask(from: Machine, process: Process): AskPeer {
    return (url) =>
      new Promise((resolve) => {
        const to = this.#machines.get(url);
        process.at(this.#chance.delay(this.#settings.latencyMs * 2), () => {
          const target = to?.reached ?? null;
          if (to === undefined || target === null || this.#isParted(from, to)) {
            process.at(this.#chance.between(1, ASK_TIMEOUT_MS), () => resolve(null));
            return;
          }
          const { nodeId, upstream: link } = target.node.status;
          const handing = link?.handsOverTo === undefined ? {} : { handsOverTo: link.handsOverTo };
          const position = formatPosition(target.node.position);
          const peer = { nodeId, upstream: target.node.upstream, position, ...handing };
          process.at(this.#chance.delay(this.#settings.latencyMs), () => resolve(peer));
        });
      });
  }

  /** A connection breaks. @returns which, or null */
  cut(): string | null {
    const connection = this.#any();
    if (connection === null) return null;
    connection.up.drop();
    connection.down.drop();
    for (const socket of [connection.dialer, connection.server]) {
      socket.process.at(this.#chance.delay(20), () => socket.closed(NOBODY, 'cut'));
    }
    return named(connection);
  }

  /** Nothing passes for so long, in one direction or in both. */
  stall(forMs: number): string | null {
    const connection = this.#any();
    if (connection === null) return null;
    const pipes = this.#chance.of([[connection.up], [connection.down], [connection.up, connection.down]]);
    for (const pipe of pipes) pipe.stalled = true;
    this.#loop.at(forMs, () => {
      for (const pipe of pipes) pipe.stalled = false;
    });
    return `${named(connection)} ${pipes.length === 2 ? 'both ways' : pipes[0] === connection.up ? 'up' : 'down'}`;
  }

  slow(forMs: number): string | null {
    const connection = this.#any();
    if (connection === null) return null;
    connection.down.slow = true;
    this.#loop.at(forMs, () => {
      connection.down.slow = false;
    });
    return named(connection);
  }

  /** The two cannot reach each other for so long; what is open between them stalls. */
  part(one: Machine, other: Machine, forMs: number): void {
    const pair = pairOf(one, other);
    this.#parted.add(pair);
    const between = this.#open.filter(({ from, to }) => pairOf(from, to) === pair);
    for (const { up, down } of between) up.stalled = down.stalled = true;
    this.#loop.at(forMs, () => {
      this.#parted.delete(pair);
      for (const { up, down } of between) up.stalled = down.stalled = false;
    });
  }

  /** Everybody reaches everybody, at full speed. */
  heal(): void {
    this.#parted.clear();
    for (const { up, down } of this.#open) {
      up.stalled = down.stalled = false;
      up.slow = down.slow = false;
    }
  }

  /** A machine's process has ended; with its power the machine ends too, and tells nobody. */
  ended(machine: Machine, withPower: boolean): void {
    for (const connection of this.#open) {
      const ends = [
        { owner: connection.from, out: connection.up, into: connection.down, peer: connection.server },
        { owner: connection.to, out: connection.down, into: connection.up, peer: connection.dialer },
      ];
      for (const { owner, out, into, peer } of ends) {
        if (owner !== machine) continue;
        into.drop();
        if (!withPower) out.endAfterFlight();
        else if (this.#chance.odds(0.5)) out.drop();
        else out.endAfterFlight();
        // Who sends something to a machine that has come up again is told that there is no such connection.
        if (withPower && this.#chance.odds(0.7)) {
          peer.process.at(this.#chance.delay(1_500), () => peer.closed(NOBODY, 'reset'));
        }
      }
    }
  }

  #pipe(deliver: ConstructorParameters<typeof Pipe>[3]): Pipe {
    return new Pipe(this.#loop, this.#chance, this.#settings, deliver);
  }

  #isParted(one: Machine, other: Machine): boolean {
    return this.#parted.has(pairOf(one, other));
  }

  #any(): Connection | null {
    this.#open = this.#open.filter(({ dialer, server }) => {
      const isGone = (socket: FakeSocket): boolean => socket.isClosed || !socket.process.alive;
      return !isGone(dialer) || !isGone(server);
    });
    return this.#open.length === 0 ? null : this.#chance.of(this.#open);
  }
}

function pairOf(one: Machine, other: Machine): string {
  return [one.name, other.name].sort().join('-');
}

function named({ from, to }: Connection): string {
  return `${from.name}->${to.name}`;
}
