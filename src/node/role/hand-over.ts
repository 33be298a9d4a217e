/**
 * The states of a hand-over, and what each event does in each of them. `Failover` carries it out.
 *
 *   none ─begin─► choosing ─chosen─► waiting ─caught-up─► asked ─took-over─► ended ─over─► none
 *                     └─ timed-out, abort, stop ─┴─ gone        └─ timed-out, stop, target-refused ─► ended
 */
import { Problem } from '../problem.ts';

export interface FailoverStatus {
  readonly state: 'waiting-for-sync' | 'in-progress';
  /** The target, `ws://HOST:PORT`; null: the first replica that has everything. */
  readonly to: string | null;
}

export type HandOver =
  | { readonly kind: 'none' }
  /** The node asks the candidates whether they can be reached. */
  | { readonly kind: 'choosing'; readonly to: string | null }
  /** The node holds writes, until one target has acknowledged everything. */
  | { readonly kind: 'waiting'; readonly to: string | null }
  /** The target decides: the node has stopped being a master, or is about to, and asks the target to become one. */
  | { readonly kind: 'asked'; readonly to: string }
  /** The caller gets the outcome next. `problem`: the reason of a failure, or null. */
  | { readonly kind: 'ended'; readonly status: FailoverStatus; readonly problem: Problem | null };

export type HandOverEvent =
  | { readonly kind: 'begin'; readonly to: string | null }
  /** At least one candidate can be reached. */
  | { readonly kind: 'chosen' }
  | { readonly kind: 'caught-up'; readonly target: string }
  /** No target is online any more. */
  | { readonly kind: 'gone' }
  /** The link to the target streams. */
  | { readonly kind: 'took-over' }
  /** The target has refused, and this node is the master again. */
  | { readonly kind: 'target-refused'; readonly detail: string }
  | { readonly kind: 'timed-out'; readonly timeoutMs: number }
  /** A user gives the hand-over up, or the one who wants it has lost the right. */
  | { readonly kind: 'abort'; readonly why?: string }
  /** The node stops. */
  | { readonly kind: 'stop' }
  /** The caller has the outcome. */
  | { readonly kind: 'over' };

type Kind = HandOver['kind'];
type In<K extends Kind> = Extract<HandOver, { readonly kind: K }>;
type On<E extends HandOverEvent['kind']> = Extract<HandOverEvent, { readonly kind: E }>;
/** One cell: the next state, or the problem with which the node refuses the event. */
type Cell<K extends Kind, E extends HandOverEvent['kind']> = (
  state: In<K>,
  event: On<E>,
) => HandOver | Problem;
type Row<K extends Kind> = { readonly [E in HandOverEvent['kind']]: Cell<K, E> };

const stay = (state: HandOver): HandOver => state;
const over = (): HandOver => ({ kind: 'none' });
const goingOn = (): Problem => refused('a hand-over is going on already');
const tooLate = (): Problem =>
  refused('the target has been asked to become the master: only its answer decides now');

/** The cells that `choosing` and `waiting` share: the node is still the master. */
const STILL_MASTER = {
  begin: goingOn,
  // Only the target of an earlier hand-over can answer now.
  'took-over': stay,
  'target-refused': stay,
  'timed-out': (state: In<'choosing' | 'waiting'>, { timeoutMs }: On<'timed-out'>) =>
    timedOut(state, timeoutMs, 'no target had everything; this node is still the master'),
  abort: (state: In<'choosing' | 'waiting'>, { why = 'it was aborted' }: On<'abort'>) => aborted(state, why),
  stop: (state: In<'choosing' | 'waiting'>) => aborted(state, 'the node is shutting down'),
  over,
};

/** The cells that `none` and `ended` share: the node waits for none of these events. */
const NOTHING_AWAITED = {
  chosen: stay,
  'caught-up': stay,
  gone: stay,
  'took-over': stay,
  'target-refused': stay,
  'timed-out': stay,
};

const TABLE: { readonly [K in Kind]: Row<K> } = {
  none: {
    begin: (_state, { to }) => ({ kind: 'choosing', to }),
    ...NOTHING_AWAITED,
    abort: () => refused('no hand-over is going on'),
    stop: stay,
    over,
  },
  choosing: {
    ...STILL_MASTER,
    chosen: ({ to }) => ({ kind: 'waiting', to }),
    'caught-up': stay,
    gone: stay,
  },
  waiting: {
    ...STILL_MASTER,
    chosen: stay,
    'caught-up': (_state, { target }) => ({ kind: 'asked', to: target }),
    gone: (state) => ended(state, refused('the target has gone; this node is still the master')),
  },
  asked: {
    begin: goingOn,
    chosen: stay,
    'caught-up': stay,
    gone: stay,
    'took-over': (state) => ended(state, null),
    'target-refused': (state, { detail }) =>
      ended(state, refused(`the target refuses: ${detail}; this node is the master again`)),
    'timed-out': (state, { timeoutMs }) =>
      timedOut(
        state,
        timeoutMs,
        `${state.to} was asked to become the master and has not answered; this node follows it, and keeps asking. ` +
          'DELETE /v1/replication/upstream makes this node a master, if the other is known not to be one',
      ),
    abort: tooLate,
    stop: (state) =>
      ended(
        state,
        new Problem(
          'SHUTTING_DOWN',
          'the node is shutting down; the target is asked again after the restart',
        ),
      ),
    over,
  },
  ended: {
    begin: goingOn,
    ...NOTHING_AWAITED,
    abort: (state) => (state.status.state === 'in-progress' ? tooLate() : state),
    stop: stay,
    over,
  },
};

/** @returns the next state, or the problem with which the node refuses the event; the state stays then */
export function handOverStep(state: HandOver, event: HandOverEvent): HandOver | Problem {
  // The row and the cell belong to these kinds, which TypeScript cannot follow through two lookups.
  const cell = TABLE[state.kind][event.kind] as (state: HandOver, event: HandOverEvent) => HandOver | Problem;
  return cell(state, event);
}

/** @returns the status of the hand-over for users, or null if there is none */
export function handOverStatus(state: HandOver): FailoverStatus | null {
  switch (state.kind) {
    case 'none':
      return null;
    case 'choosing':
    case 'waiting':
      return { state: 'waiting-for-sync', to: state.to };
    case 'asked':
      return { state: 'in-progress', to: state.to };
    case 'ended':
      return state.status;
  }
}

/** @returns the problem of a hand-over that cannot be, or could not be done */
export function refused(detail: string): Problem {
  return new Problem('FAILOVER_REFUSED', detail);
}

type Running = In<'choosing' | 'waiting' | 'asked'>;

function ended(state: Running, problem: Problem | null): HandOver {
  return { kind: 'ended', status: handOverStatus(state) as FailoverStatus, problem };
}

function aborted(state: Running, why: string): HandOver {
  return ended(state, new Problem('FAILOVER_ABORTED', `${why}; this node is still the master`));
}

function timedOut(state: Running, timeoutMs: number, what: string): HandOver {
  return ended(state, new Problem('FAILOVER_TIMED_OUT', `after ${timeoutMs} ms ${what}`));
}
