/** The phases of a follower, and the complete table of the events that lead from one to another. */

export type FollowerPhase =
  /** The follower waits for its snapshot. */
  | 'waiting'
  /** The feed sends it the entries of its snapshot. */
  | 'snapshot'
  /** The feed reads the stream for it, as fast as its socket takes it, until it reaches the live followers. */
  | 'behind'
  /** The rounds of its subscription send it every event. */
  | 'live'
  /** The feed sends it nothing more. */
  | 'closed';

export type FollowerEvent =
  | 'awaitSnapshot'
  | 'startSnapshot'
  | 'finishSnapshot'
  | 'resumeAt'
  | 'fallBehind'
  | 'goLive'
  | 'close';

type Transitions = Readonly<
  Record<FollowerPhase, Readonly<Record<FollowerEvent, FollowerPhase | 'impossible'>>>
>;

/** The next phase for each phase and event. An impossible event throws; a closed follower ignores every event. */
export const FOLLOWER_TRANSITIONS: Transitions = {
  waiting: {
    awaitSnapshot: 'waiting',
    startSnapshot: 'snapshot',
    finishSnapshot: 'impossible',
    resumeAt: 'behind',
    fallBehind: 'impossible',
    goLive: 'impossible',
    close: 'closed',
  },
  snapshot: {
    awaitSnapshot: 'waiting',
    startSnapshot: 'impossible',
    finishSnapshot: 'behind',
    resumeAt: 'impossible',
    fallBehind: 'impossible',
    goLive: 'impossible',
    close: 'closed',
  },
  behind: {
    awaitSnapshot: 'waiting',
    startSnapshot: 'impossible',
    finishSnapshot: 'impossible',
    resumeAt: 'behind',
    fallBehind: 'impossible',
    goLive: 'live',
    close: 'closed',
  },
  live: {
    awaitSnapshot: 'impossible',
    startSnapshot: 'impossible',
    finishSnapshot: 'impossible',
    resumeAt: 'impossible',
    fallBehind: 'behind',
    goLive: 'impossible',
    close: 'closed',
  },
  closed: {
    awaitSnapshot: 'closed',
    startSnapshot: 'closed',
    finishSnapshot: 'closed',
    resumeAt: 'closed',
    fallBehind: 'closed',
    goLive: 'closed',
    close: 'closed',
  },
};
