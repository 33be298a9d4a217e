/** Types for the part of autocannon that load.ts uses; the package has none of its own. */
declare module 'autocannon' {
  import type { EventEmitter } from 'node:events';

  export interface Request {
    readonly path: string;
    /** An absent member has the value of the options. */
    readonly method?: string;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: string;
  }

  /** One connection. */
  export interface Connection {
    /** Replaces the requests that the connection repeats; each is built once, here. */
    setRequests(requests: Request[]): void;
  }

  export interface Options {
    readonly url: string;
    readonly method: string;
    readonly connections: number;
    /** Duration in seconds. */
    readonly duration: number;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: string;
    readonly setupClient?: (connection: Connection) => void;
  }

  export interface Result {
    readonly errors: number;
    readonly timeouts: number;
    readonly non2xx: number;
  }

  /** `start`: everything is set up; `response`: an answer has arrived. */
  export interface Run extends EventEmitter, PromiseLike<Result> {
    stop(): void;
  }

  export default function autocannon(options: Options): Run;
}
