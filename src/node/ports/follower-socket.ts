/** Port: connections of followers. `src/ws` and `src/http` implement it. */
import type { CloseCode } from '../../replication/close-code.ts';
import type { Framing } from '../feed/messages/message.ts';

export type Transport = 'websocket' | 'sse' | 'ndjson';

/** The connection of one follower, whatever its transport. */
export interface FollowerSocket {
  /** Who is at the other end, for people. */
  readonly peer: string;
  /** Name of the client, by which limits count. */
  readonly client: string;
  readonly framing: Framing;
  readonly transport: Transport;
  /** Bytes that were sent and that the operating system has not taken yet. */
  readonly bufferedBytes: number;
  /** @param frames whole messages, in this socket's framing; they never change */
  send(frames: Buffer): void;
  /** Whether the peer answers `ping`: `alive` is called then. */
  readonly answersPings: boolean;
  ping(): void;
  /** Ends it after everything that was sent. The socket goes away by itself if the peer does not. */
  close(code: CloseCode, reason: string): void;
  /** Drops the connection now. */
  terminate(): void;
}

/** What a follower's socket tells. After `closed` nothing more comes. */
export interface FollowerEvents {
  /** What was buffered has been taken. */
  drained(): void;
  /** The peer has answered a ping; it is alive. */
  alive(): void;
  closed(): void;
}
