/**
 * Bugs to plant, one at a time: each a plausible mistake in code that keeps a promise. A simulation that does not find
 * them would not find others either.
 */
export interface Mutation {
  readonly name: string;
  /** In `src/`. */
  readonly file: string;
  /** Is there exactly once. */
  readonly find: string;
  readonly replace: string;
  /** The seed to begin with, for what is found so rarely that the first ones take too long. */
  readonly from?: number;
}

export const MUTATIONS: readonly Mutation[] = [
  {
    name: 'sessions are fed before the journal',
    file: 'node/head/stream-head.ts',
    find: '      const { hash, beginsChain } = this.#places;',
    replace:
      '      for (const listener of this.#listeners) listener(run, from);\n' +
      '      const { hash, beginsChain } = this.#places;',
  },
  {
    name: 'a replica that has one byte too many may continue',
    file: 'replication/decide.ts',
    find: 'if (asked > next) return',
    replace: 'if (asked > next + 1) return',
  },
  {
    name: 'a replica that lacks one byte too many may continue',
    file: 'replication/decide.ts',
    find: 'if (asked < window.firstOffset) return',
    replace: 'if (asked < window.firstOffset - 1) return',
  },
  {
    name: 'a master that has lost bytes keeps its run ID',
    file: 'node/assembly.ts',
    find: 'if (state.mayLackBytes && state.upstream === null) {',
    replace: 'if (state.mayLackBytes && state.upstream === "") {',
  },
  {
    name: 'an ancestor is shared without bound',
    file: 'replication/history.ts',
    find: "return offset > ancestor.validTo ? 'past-shared-history' : 'shared';",
    replace: "return 'shared';",
  },
  {
    name: 'a promotion keeps the run ID',
    file: 'node/role/roles.ts',
    find: "runIds.rename('promoted', { upstream: null, except })",
    replace: 'this.#parts.state.save({ upstream: null, handingOver: false })',
  },
  {
    name: 'the journal is trimmed past the slowest session',
    file: 'node/head/journal-trim.ts',
    find: 'if (pinned !== null) least = Math.min(least, pinned);',
    replace: 'if (pinned !== null) least = Math.max(least, 0);',
  },
  {
    name: 'a replica acknowledges what is not in its journal yet',
    file: 'node/link/received-stream.ts',
    find: '    const failure = this.commit();\n    if (failure !== null) {',
    replace:
      '    const due = this.#received.reduce((sum, run) => sum + run.bytes.length, 0);\n' +
      "    if (due > 0) connection.send(['REPLCONF', 'ACK', String(head.offset + due)]);\n" +
      '    const failure = this.commit();\n    if (failure !== null) {',
  },
  {
    name: 'a link dials again while the snapshot of the connection before is still being checked',
    file: 'node/link/link-attempt.ts',
    find: 'const outcome = await this.#reception?.settled;',
    replace: 'const outcome = await (undefined as Outcome | undefined);',
    from: 641,
  },
  {
    name: 'the target of a hand-over takes over wherever it stands',
    file: 'node/role/roles.ts',
    find: 'if (own.runId === position.runId && own.offset === position.offset) {',
    replace: 'if (own.runId === position.runId) {',
    from: 1_201,
  },
  {
    name: 'a master hands over and does not stop being one',
    file: 'node/role/roles.ts',
    find: 'this.#parts.state.save({ upstream: url, handingOver: true });',
    replace: 'this.#parts.state.save({ upstream: null, handingOver: true });',
  },
  {
    name: 'a full resync does not end the sessions of the old history',
    file: 'node/link/adoption.ts',
    find: "this.#parts.releaseReaders(CloseCode.historyChanged, 'a full resync replaced the history');",
    replace: '',
  },
  {
    name: 'a new run ID does not end the sessions',
    file: 'node/role/run-ids.ts',
    find: "sessions.drop(CloseCode.historyChanged, 'the history has a new run ID', except);",
    replace: '',
  },
  {
    name: 'what only this node has is not kept if it is shorter',
    file: 'node/link/adoption.ts',
    find: "return standing(history, own) !== 'shared' || own.offset > position.offset;",
    replace: 'return own.offset > position.offset;',
  },
  {
    name: 'the overlay forgets what the applier has not written',
    file: 'keyspace/overlay/overlay.ts',
    find: 'end !== null && end <= upTo;',
    replace: 'end !== null;',
  },
  {
    name: 'half a transaction is applied',
    file: 'stream/decoder.ts',
    find: '      if (this.#inMulti) {',
    replace: '      if (this.#inMulti && this.#open.bytes > MAX_TRANSACTION_BYTES) {',
  },
  {
    name: 'a snapshot does not keep the journal behind it',
    file: 'node/session/snapshots.ts',
    find: 'head.pin(() => this.#frozen[0]?.at.offset ?? null);',
    replace: 'head.pin(() => null);',
  },
  {
    name: 'a full resync leaves followers where they were',
    file: 'node/feed/feed.ts',
    find: 'for (const follower of [...this.#followers]) {\n      this.#catchUp.delete(follower);',
    replace: 'for (const follower of [] as Follower[]) {\n      this.#catchUp.delete(follower);',
  },
  {
    name: 'a follower that catches up is given what another one lacks',
    file: 'node/feed/stretch.ts',
    find: 'known === undefined || known.after !== after',
    replace: 'known === undefined',
    // With few seeds: it takes two followers of the same keys that come back to different places of one stretch.
    from: 200,
  },
  {
    name: 'the journal is trimmed past the slowest follower',
    file: 'node/feed/feed.ts',
    find: 'for (const { cursor } of this.#pinned) if (least === null || cursor < least) least = cursor;',
    replace: '',
  },
  {
    name: 'commits are timed by the wall clock',
    file: 'node/head/stream-head.ts',
    find: '    const now = this.#world.monotonic();\n    this.#applying.filled',
    replace: '    const now = this.#world.now();\n    this.#applying.filled',
  },
  {
    name: 'the history hash is not compared',
    file: 'replication/decide.ts',
    find: "return place.hash === hash ? 'same' : 'different';",
    replace: "return 'same';",
  },
  {
    name: 'a replica is told the history hash of another offset',
    file: 'node/session/sync-answer.ts',
    find: 'const hash = head.hashAt(at);',
    replace: 'const { hash } = head;',
  },
  {
    name: 'the history hash depends on how the stream was cut',
    file: 'replication/history-hash.ts',
    find: 'for (const end of boundaries) {',
    replace: 'for (const end of boundaries.slice(-1)) {',
  },
  {
    name: 'a replica may continue in the middle of a command',
    file: 'replication/decide.ts',
    find: "if (place.kind === 'inside-command') return 'different';",
    replace: '',
  },
  {
    name: 'a copied folder is not noticed at the start',
    file: 'node/role/run-ids.ts',
    find: "if (state.upstream === null) this.rename('copied');",
    replace: 'if (state.upstream === null) state.save({ copySettled: true });',
  },
  {
    name: 'a master that learns that it was rolled back keeps its run ID',
    file: 'replication/decide.ts',
    find: "decision.reason === 'ahead-of-master' || (decision.reason === 'different-bytes' && request.hash !== null)",
    replace: "decision.reason === 'forced'",
  },
  {
    name: 'a run ID that was rolled back is valid up to the present offset',
    file: 'node/role/run-ids.ts',
    find: "this.rename('rolled-back', { except: session, validTo: this.#began.offset });",
    replace: "this.rename('rolled-back', { except: session });",
  },
];
