/**
 * What clients ask for, and what becomes of it. A request is decided against the newest state, in the write turn;
 * only its effect enters the stream.
 */
import type { Command, SetCommand } from '../stream/command.ts';

export type WriteRequest =
  | {
      readonly kind: 'set';
      readonly key: string;
      readonly value: Buffer;
      readonly expiresAt: number | null;
    }
  | { readonly kind: 'delete'; readonly key: string }
  /** Entries of an import: set without looking at what was there. */
  | { readonly kind: 'load'; readonly entries: readonly SetCommand[] };

/** What the state is before the request: with the effects of all earlier requests of the same turn. */
export interface StateView {
  has(key: string): boolean;
}

export interface Effects {
  readonly commands: readonly Command[];
  /** The request named a key that was there before it. */
  readonly existed: boolean;
}

const NOTHING: Effects = { commands: [], existed: false };

/** Decides one request. Pure: it looks, and changes nothing. */
export function effectsOf(request: WriteRequest, state: StateView): Effects {
  switch (request.kind) {
    case 'set':
      return { commands: [request], existed: state.has(request.key) };
    case 'delete':
      return state.has(request.key)
        ? { commands: [{ kind: 'del', keys: [request.key] }], existed: true }
        : NOTHING;
    case 'load':
      return { commands: request.entries, existed: false };
  }
}
