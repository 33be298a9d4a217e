/** What the thread of `--metrics-listen` and the main thread tell each other. */
import type { ProblemCode } from '../../node/problem.ts';
import type { Wanted } from '../../node/readiness.ts';
import type { Role } from '../../node/role/roles.ts';
import type { Position } from '../../replication/position.ts';
import type { RequestNote } from '../../web/record/request-counts.ts';

/** What answers say of the node beside what was asked for. */
export interface NodeState {
  readonly position: Position;
  readonly role: Role;
  readonly closing: boolean;
  /** Whether the log gets a line about each request. */
  readonly logsRequests: boolean;
  readonly bodyTimeoutMs: number;
  readonly requestMemoryBytes: number;
}

/** A text of metrics. */
export interface SentText {
  readonly contentType: string;
  readonly bytes: Uint8Array;
  /** How long it answers scrapes from now on, in milliseconds. */
  readonly restMs: number;
}

export interface SentProblem {
  readonly code: ProblemCode;
  readonly message: string;
}

/** What the thread wants to know: the state alone, the metrics too, or whether this is the wanted node. */
export type Question =
  | { readonly about: 'state' }
  | { readonly about: 'metrics' }
  | { readonly about: 'readiness'; readonly wanted: Wanted };

/** The main thread answers each question, with the same number. */
export interface Answer {
  readonly id: number;
  readonly state: NodeState;
  /** Of a question about metrics; null: it could not be made, and the log says why. */
  readonly text: SentText | null;
  /** Of a question about readiness; null: the node is the wanted one. */
  readonly unready: SentProblem | null;
}

export type FromThread =
  | { readonly kind: 'listening'; readonly port: number }
  /** It cannot listen. */
  | { readonly kind: 'failed'; readonly message: string; readonly code: string | undefined }
  | {
      readonly kind: 'question';
      readonly id: number;
      readonly question: Question;
    }
  /** Requests that were answered. */
  | { readonly kind: 'requests'; readonly notes: readonly RequestNote[] }
  | {
      readonly kind: 'log';
      readonly level: 'debug' | 'info' | 'warn' | 'error';
      readonly event: string;
      readonly fields: Readonly<Record<string, unknown>>;
    }
  /** A line of the access log. */
  | { readonly kind: 'access'; readonly event: string; readonly fields: object };

export type ToThread =
  | { readonly kind: 'listen'; readonly host: string; readonly port: number }
  | { readonly kind: 'answer'; readonly answer: Answer }
  /** Reads the files of certificates anew. */
  | { readonly kind: 'reload' }
  /** Takes no more connections, and ends when those that are there have ended. */
  | { readonly kind: 'close' }
  /** Ends all connections. */
  | { readonly kind: 'end-connections' };
