/**
 * Bugs to plant, one at a time: each a plausible mistake in code that keeps a promise. A simulation that does not find
 * them would not find others either.
 */
export interface Mutation {
  readonly name: string;
  /** The function (`decidePsync`) or member (`StreamHead.commit`) with the code; its file does not matter. */
  readonly in: string;
  /** Code that is there exactly once; white space and comments in it do not count. */
  readonly find: string;
  readonly replace: string;
  /** The seed to begin with, for what is found so rarely that the first ones take too long. */
  readonly from?: number;
}

export const MUTATIONS: readonly Mutation[] = [
  {
    name: 'sessions are fed before the journal',
    in: 'StreamHead.commit',
    find: 'const { hash, beginsChain } = this.#places;',
    replace:
      'for (const listener of this.#listeners) listener(run, from);\n' +
      'const { hash, beginsChain } = this.#places;',
  },
  {
    name: 'a replica that has one byte too many may continue',
    in: 'decidePsync',
    find: 'asked > next',
    replace: 'asked > next + 1',
  },
  {
    name: 'a replica that lacks one byte too many may continue',
    in: 'decidePsync',
    find: 'asked < window.firstOffset',
    replace: 'asked < window.firstOffset - 1',
  },
  {
    name: 'a master that has lost bytes keeps its run ID',
    in: 'Assembly.#beginRun',
    find: 'state.mayLackBytes || this.head.hasLostHash',
    replace: 'this.head.hasLostHash',
  },
  {
    name: 'a master that does not know its history hash any more keeps its run ID',
    in: 'Assembly.#beginRun',
    find: 'state.mayLackBytes || this.head.hasLostHash',
    replace: 'state.mayLackBytes',
    from: 206_620_000,
  },
  {
    name: 'an ancestor is shared without bound',
    in: 'standing',
    find: "offset > ancestor.validTo ? 'past-shared-history' : 'shared'",
    replace: "'shared'",
  },
  {
    name: 'a promotion keeps the run ID',
    in: 'Roles.#becomeMaster',
    find: "runIds.rename('promoted', { upstream: null, except })",
    replace: 'this.#parts.state.save({ upstream: null, handingOver: false })',
  },
  {
    name: 'the journal is trimmed past the slowest session',
    in: 'JournalTrim.#trimmableTo',
    find: 'Math.min(least, pinned)',
    replace: 'Math.max(least, 0)',
  },
  {
    name: 'a replica acknowledges what is not in its journal yet',
    in: 'ReceivedStream.#takeTurn',
    find: 'const failure = this.commit();',
    replace:
      'const due = this.#received.reduce((sum, run) => sum + run.bytes.length, 0);\n' +
      "if (due > 0) connection.send(['REPLCONF', 'ACK', String(head.offset + due)]);\n" +
      'const failure = this.commit();',
  },
  {
    name: 'a link dials again while the snapshot of the connection before is still being checked',
    in: 'LinkAttempt.#tell',
    find: 'await this.#reception?.settled',
    replace: 'await (undefined as Outcome | undefined)',
    from: 1_900,
  },
  {
    name: 'the target of a hand-over takes over wherever it stands',
    in: 'takeOverAnswer',
    find:
      'if (own.offset < position.offset && !hasStreamed(own.runId)) return inDoubt(stands); ' +
      'if (own.offset === position.offset)',
    replace: 'if (own.offset <= position.offset)',
  },
  {
    name: 'a node that was put back refuses to take over',
    in: 'inDoubt',
    find: 'LOADING',
    replace: 'ERR',
  },
  {
    name: 'the journal is said to reach back further than it does',
    in: 'JournalKeep.#first',
    find: 'const from = Math.max(this.#start, this.from(',
    replace: 'const from = Math.min(this.#start, this.from(',
  },
  {
    name: 'what was found damaged is said to be there',
    in: 'JournalKeep.window',
    find: 'Math.min(this.#damagedUpTo() ?? 0, head)',
    replace: 'Math.min(0, head)',
  },
  {
    name: 'a master hands over and does not stop being one',
    in: 'Roles.handOver',
    find: 'upstream: url',
    replace: 'upstream: null',
  },
  {
    name: 'a full resync does not end the sessions of the old history',
    in: 'Adoption.adopt',
    find: "this.#parts.releaseReaders(CloseCode.historyChanged, 'a full resync replaced the history');",
    replace: '',
  },
  {
    name: 'a new run ID does not end the sessions',
    in: 'RunIds.#store',
    find: "sessions.drop(CloseCode.historyChanged, 'the history has a new run ID', except);",
    replace: '',
  },
  {
    name: 'what only this node has is not kept if it is shorter',
    in: 'Adoption.#isDiverged',
    find: "standing(history, own) !== 'shared' || own.offset > position.offset",
    replace: 'own.offset > position.offset',
  },
  {
    name: 'the overlay forgets what the applier has not written',
    in: 'Overlay.applied',
    find: 'end !== null && end <= upTo',
    replace: 'end !== null',
  },
  {
    name: 'half a transaction is applied',
    in: 'StreamDecoder.push',
    find: 'if (this.#inMulti)',
    replace: 'if (this.#inMulti && this.#open.bytes > MAX_TRANSACTION_BYTES)',
  },
  {
    name: 'a snapshot does not keep the journal behind it',
    in: 'Snapshots.constructor',
    find: 'this.#frozen[0]?.at.offset ?? null',
    replace: 'null',
  },
  {
    name: 'a full resync leaves followers where they were',
    in: 'Feed.replaced',
    find: 'for (const follower of [...this.#followers])',
    replace: 'for (const follower of [] as Follower[])',
  },
  {
    name: 'a follower that catches up is given what another one lacks',
    in: 'Stretch.sharedPortion',
    find: 'known === undefined || known.after !== after',
    replace: 'known === undefined',
    // With few seeds: it takes two followers of the same keys that come back to different places of one stretch.
    from: 2_700,
  },
  {
    name: 'the journal is trimmed past the slowest follower',
    in: 'Feed.#leastNeeded',
    find: 'for (const { cursor } of this.#pinned) if (least === null || cursor < least) least = cursor;',
    replace: '',
  },
  {
    name: 'commits are timed by the wall clock',
    in: 'StreamHead.#committed',
    find: 'this.#world.monotonic()',
    replace: 'this.#world.now()',
  },
  {
    name: 'the history hash is not compared',
    in: 'compare',
    find: "place.hash === hash ? 'same' : 'different'",
    replace: "'same'",
  },
  {
    name: 'a replica is told the history hash of another offset',
    in: 'hashWord',
    find: 'const hash = head.hashAt(at);',
    replace: 'const { hash } = head;',
  },
  {
    name: 'the history hash depends on how the stream was cut',
    in: 'chained',
    find: 'of boundaries)',
    replace: 'of boundaries.slice(-1))',
  },
  {
    name: 'a replica may continue in the middle of a command',
    in: 'compare',
    find: "if (place.kind === 'inside-command') return 'different';",
    replace: '',
  },
  {
    name: 'a replica says that its journal is on the disk when it is not',
    in: 'ReceivedStream.#acknowledge',
    find: 'journal.durableUpTo(head.offset)',
    replace: 'head.offset',
  },
  {
    name: 'the rest of a snapshot has wrong bytes',
    in: 'SnapshotSender.send',
    find: 'this.#read(0, this.#given)',
    replace: 'this.#read(0, 0)',
  },
  {
    name: 'a snapshot that waits for its replica does not keep the file',
    in: 'Snapshots.#keep',
    find: 'frozen.keep(() => {',
    replace: 'ready.release();\nfrozen.keep(() => {',
  },
  {
    name: 'a master counts replicas that have a durable write only in their journals',
    in: 'Sessions.acknowledged',
    find: 'durable ? each.durable : each.offset',
    replace: 'each.offset',
  },
  {
    name: 'a copied folder is not noticed at the start',
    in: 'RunIds.settleCopy',
    find: "this.rename('copied')",
    replace: 'state.save({ copySettled: true })',
  },
  {
    name: 'a master that learns that it was rolled back keeps its run ID',
    in: 'showsRollback',
    find: "decision.reason === 'ahead-of-master' || (decision.reason === 'different-bytes' && request.hash !== null)",
    replace: "decision.reason === 'forced'",
  },
  {
    name: 'a run ID that was rolled back is valid up to the present offset',
    in: 'RunIds.renameOutdated',
    find: '{ except: session, validTo }',
    replace: '{ except: session }',
  },
  {
    name: 'a restored node keeps its run ID',
    in: 'restoredHistory',
    find: "renamed(backup, { runId, validTo, reason: 'restored', at })",
    replace: 'backup',
  },
];
