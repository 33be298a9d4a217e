/**
 * A follower of the simulation: a live copy of some prefixes, made of the events that arrive, which goes from node to node
 * with its position. What it has is held against the ledger, at every position that it is told.
 */
import type { Entry } from '../../src/keyspace/entry.ts';
import { Prefixes } from '../../src/keyspace/prefixes.ts';
import type { FeedRequest } from '../../src/node/feed/feed-request.ts';
import { Problem } from '../../src/node/problem.ts';
import { formatPosition, type Position, parsePosition } from '../../src/replication/position.ts';
import type { Chance } from './chance.ts';
import type { EventLoop } from './event-loop.ts';
import { Connection } from './follower-connection.ts';
import type { Machine } from './machine.ts';
import type { Referee } from './referee.ts';
import type { Trace } from './trace.ts';

const CHOICES: readonly (readonly string[])[] = [
  [''],
  ['k1'],
  ['k', 'n'],
  ['n', 'k1', 'k15'],
  ['k3', 'x'],
  ['n'],
];
const LOOK_MS = 100;
const CUT_ODDS = 0.06;
/** Comparing with the ledger costs as much as the history is long. */
const COMPARE_ODDS = 0.1;

interface Change {
  readonly type: string;
  readonly key: string;
  readonly value: string;
  readonly encoding: 'utf8' | 'base64';
  readonly version: number;
  readonly expiresAt: number | null;
}

interface Event extends Change {
  readonly position: string;
  readonly keys: number;
  readonly changes: readonly Change[];
  readonly code: string;
  readonly reason: string;
}

export class SimulatedFollower {
  readonly #name: string;
  readonly #loop: EventLoop;
  readonly #chance: Chance;
  readonly #machines: readonly Machine[];
  readonly #referee: Referee;
  readonly #trace: Trace;
  readonly #prefixes: Prefixes;
  #entries = new Map<string, Entry>();
  /** A snapshot that is arriving. */
  #building: { readonly keys: number; readonly entries: Map<string, Entry> } | null = null;
  /** From where it goes on; null: it has nothing. */
  #position: Position | null = null;
  /** The same under the true name of its stream; null: it has nothing, or was misled. */
  #truth: Position | null = null;
  /** Two streams had its position, and it went on with the other one. */
  #isMisled = false;
  #connection: Connection | null = null;
  #isCalm = false;

  constructor(
    name: string,
    parts: {
      readonly loop: EventLoop;
      readonly chance: Chance;
      readonly machines: readonly Machine[];
      readonly referee: Referee;
      readonly trace: Trace;
    },
  ) {
    this.#name = name;
    this.#loop = parts.loop;
    this.#chance = parts.chance;
    this.#machines = parts.machines;
    this.#referee = parts.referee;
    this.#trace = parts.trace;
    this.#prefixes = new Prefixes(parts.chance.of(CHOICES));
    this.#look();
  }

  /** Whether it has everything that the node has. */
  isAt(machine: Machine): boolean {
    const at = machine.node?.position;
    const own = this.#position;
    return at !== undefined && own !== null && own.offset === at.offset && own.runId === at.runId;
  }

  /** Nobody cuts it any more. */
  calm(): void {
    this.#isCalm = true;
  }

  /** It follows this node from now on, and compares what it has. */
  settle(machine: Machine): void {
    if (this.#connection?.machine !== machine) this.#leave();
    if (this.#connection === null) this.#connect(machine);
    const at = this.#position;
    if (at !== null && this.isAt(machine)) this.#moved(machine, formatPosition(at), true);
  }

  #look(): void {
    this.#loop.at(this.#chance.delay(LOOK_MS), () => {
      const connection = this.#connection;
      const isCut = !this.#isCalm && this.#chance.odds(CUT_ODDS);
      if (connection !== null && (!connection.process.alive || isCut)) this.#leave();
      if (this.#connection === null) this.#connect(this.#chance.of(this.#machines));
      this.#look();
    });
  }

  #leave(): void {
    const connection = this.#connection;
    this.#connection = null;
    this.#building = null;
    connection?.cut();
  }

  #connect(machine: Machine): void {
    const { reached, serving } = machine;
    if (reached === null || serving === null) return;
    const chance = this.#chance;
    const from = this.#position ?? 'snapshot';
    const request: FeedRequest = {
      from,
      prefixes: this.#prefixes,
      snapshot: from === 'snapshot' || chance.odds(0.9),
      limit: chance.odds(0.1) ? chance.between(1, 5) : null,
      waitMs: chance.odds(0.1) ? chance.between(0, 500) : null,
    };
    const connection = new Connection(machine, reached.process, this.#loop, chance.fork(), {
      arrived: (event) => this.#arrived(machine, event as Event),
      ended: (ended) => {
        if (this.#connection === ended) this.#leave();
      },
    });
    this.#connection = connection;
    this.#trace.count(`follower connects ${from === 'snapshot' ? 'anew' : 'again'}`);
    serving.admitFollower(request, connection.gone, 'follower').then(
      (admitted) => {
        if (this.#connection === connection && reached.process.alive) {
          connection.events = serving.serveFollower(admitted, connection);
        }
      },
      (error: unknown) => {
        if (!(error instanceof Problem)) throw error;
        this.#trace.count(`follower refused ${error.code}`);
        if (error.code === 'BAD_REQUEST') this.#blame(`is told ${error.message}`);
        if (error.code === 'POSITION_LOST') this.#position = null;
        if (this.#connection === connection) this.#leave();
      },
    );
  }

  #arrived(machine: Machine, event: Event): void {
    this.#trace.count(`follower gets ${event.type}`);
    switch (event.type) {
      case 'reset':
        if (event.reason === 'different-bytes') this.#referee.readers.disowned(this.#name, this.#truth);
        this.#building = { keys: event.keys, entries: new Map() };
        return;
      case 'entry':
        this.#building?.entries.set(event.key, entryOf(event));
        return;
      case 'synced': {
        const building = this.#building;
        this.#building = null;
        if (building === null) return this.#blame('is told that it has a snapshot, and has none');
        if (building.entries.size !== building.keys) {
          return this.#blame(`gets ${building.entries.size} entries, of ${building.keys}`);
        }
        this.#entries = building.entries;
        this.#position = this.#truth = null;
        this.#isMisled = false;
        return this.#moved(machine, event.position, true);
      }
      case 'waiting':
        return;
      case 'continue':
      case 'bookmark':
        return this.#moved(machine, event.position, event.type === 'continue');
      case 'error':
        if (event.code === 'POSITION_LOST') this.#position = null;
        if (event.code === 'TOO_FAR_BEHIND') this.#moved(machine, event.position, true);
        return;
      default:
        return this.#changed(machine, event);
    }
  }

  #changed(machine: Machine, event: Event): void {
    if (this.#building !== null) return this.#blame(`gets a ${event.type} in the middle of a snapshot`);
    const before = this.#position;
    for (const change of event.type === 'batch' ? event.changes : [event]) this.#apply(change);
    const after = parsePosition(event.position);
    if (before === null || after === null || after.offset <= before.offset) {
      return this.#blame(`was at ${before?.offset}, and gets what ended at ${after?.offset}`);
    }
    this.#moved(machine, event.position, this.#chance.odds(COMPARE_ODDS));
  }

  #apply(change: Change): void {
    if (change.type !== 'flush' && !this.#prefixes.matches(change.key)) this.#blame(`gets ${change.key}`);
    const known = this.#entries.get(change.key);
    switch (change.type) {
      case 'set':
        this.#entries.set(change.key, entryOf(change));
        return;
      case 'delete':
        this.#entries.delete(change.key);
        return;
      case 'expiry':
        if (known === undefined) {
          if (!this.#isMisled) this.#blame(`is told when ${change.key} expires, which it does not have`);
        } else this.#entries.set(change.key, { ...known, expiresAt: change.expiresAt });
        return;
      case 'flush':
        this.#entries.clear();
        return;
      default:
        this.#blame(`gets a ${change.type}`);
    }
  }

  #moved(machine: Machine, text: string, compare: boolean): void {
    const position = parsePosition(text);
    if (position === null) return this.#blame(`is told ${text}`);
    this.#position = position;
    if (this.#isMisled) return;
    const seen = compare ? { prefixes: this.#prefixes, entries: this.#entries } : null;
    const name = `${this.#name} at ${machine.name}`;
    this.#truth = this.#referee.readers.followed(name, machine, this.#truth, position, seen);
    if (this.#truth !== null) return;
    this.#isMisled = true;
    this.#trace.count('follower misled by a position of lost bytes');
  }

  #blame(what: string): void {
    this.#referee.blame(`${this.#name} ${what}`);
  }
}

function entryOf({ value, encoding, version, expiresAt }: Change): Entry {
  return { value: Buffer.from(value, encoding), version, expiresAt };
}
