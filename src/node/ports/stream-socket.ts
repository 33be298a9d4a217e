/** Port: connections between nodes. `src/ws` implements it. */
/** A WebSocket of `psync.v1`, whichever side opened it. */
export interface StreamSocket {
  /** Who is at the other end, for people. */
  readonly peer: string;
  /** Bytes that were sent and that the operating system has not taken yet. */
  readonly bufferedBytes: number;
  /** @param sent called when the bytes were taken, or never will be */
  send(bytes: Buffer, sent?: () => void): void;
  /**
   * Sends a ping frame, after everything that was sent before; one without text only if not many are unanswered.
   * @param text at most 125 bytes of ASCII
   */
  ping(text?: string): void;
  /** Stops and restarts reading: back-pressure. */
  pause(): void;
  resume(): void;
  /** Says good-bye; the socket goes away by itself if the peer does not answer. */
  close(code: number, reason: string): void;
  /** Drops the connection now. */
  terminate(): void;
  /** On a socket to a master: a token that it was not shown yet, once; null: there is none. Absent: never one. */
  readonly newToken?: () => string | null;
  /** On a socket to a master: its words as they may be shown, without the tokens that it was shown on this socket (`showable`). */
  readonly showable?: (words: string) => string;
  /** On a socket to a master: whether a token that it was shown on this socket stands in the words, in whatever case. */
  readonly holdsShown?: (words: string) => boolean;
  /**
   * On a socket to a master: which token or certificate this node shows, and the settings for it, in one clause for operators that names
   * no path. Null or absent: it is not known.
   */
  readonly credentials?: string | null;
}

/** What a socket tells. After `closed` nothing more comes. */
export interface SocketEvents {
  message(bytes: Buffer): void;
  /** The peer's pong: it is alive. */
  alive(): void;
  /** The peer's ping, after everything that it sent before. */
  pinged(text: string): void;
  closed(code: number, reason: string): void;
}

/** Decides who may replicate. */
export interface Gate {
  /** Whether the peer may replicate without showing a token in the conversation. */
  readonly isOpen: boolean;
  /** Whether everybody may do everything on this node, so that the peer could change its role too. */
  readonly isForAll: boolean;
  /** Who may replicate on this connection, to be compared with `===` to others; null: nobody yet. */
  readonly owner: unknown;
  /** What limits count the peer by: the same for all signed tokens of one subject; without a token its address. */
  readonly client: string;
  /** Whether the peer may replicate because it has shown this very token, and this node knows that it is good. */
  hasShown(token: string): boolean;
  /**
   * Takes a token that the peer shows in the conversation.
   * @returns the error line for one that does not allow to replicate; null: it does. A promise while it is being verified
   */
  take(token: string): string | null | Promise<string | null>;
}

/** Everybody may replicate. */
export const OPEN_GATE: Gate = {
  isOpen: true,
  isForAll: true,
  owner: 'anybody',
  client: 'anybody',
  hasShown: () => false,
  take: () => null,
};

/** The files for TLS cannot be used, so that there is no connection at all. */
export class UnusableTls extends Error {
  /** One line for the operator, in the log: it may name files. */
  readonly inLog: string;

  /** @param message one line for clients: it names no path */
  constructor(message: string, inLog: string) {
    super(message);
    this.inLog = inLog;
  }
}

/**
 * Opens a socket to a master. `opened` comes first; if it cannot be opened, only `closed`, with 1015 if TLS is the reason.
 * @throws UnusableTls
 */
export type Dial = (url: string, events: SocketEvents & { opened(): void }) => StreamSocket;
