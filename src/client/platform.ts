/// <reference lib="esnext.disposable" preserve="true" />
/**
 * What the client's types name of the platform: its own types if the application has them, from TypeScript's `dom` or from the
 * types of Node, and otherwise as much as the client uses. So an application compiles with neither of them.
 */

type Found<Name extends string, Otherwise> =
  typeof globalThis extends Readonly<Record<Name, infer Known>> ? Known : Otherwise;
type Instance<Name extends string, Otherwise> =
  typeof globalThis extends Readonly<Record<Name, { readonly prototype: infer Known }>> ? Known : Otherwise;

/** An `AbortSignal`. */
export type Signal = Instance<
  'AbortSignal',
  {
    readonly aborted: boolean;
    readonly reason: unknown;
    addEventListener(type: 'abort', listener: () => void): void;
    removeEventListener(type: 'abort', listener: () => void): void;
  }
>;

/** A `ReadableStream` of bytes. */
export type ByteStream = Instance<
  'ReadableStream',
  {
    getReader(): {
      read(): Promise<
        | { readonly done: false; readonly value: Uint8Array }
        | { readonly done: true; readonly value?: undefined }
      >;
      cancel(reason?: unknown): Promise<void>;
    };
    cancel(reason?: unknown): Promise<void>;
  }
>;

/** The function `fetch`. */
export type Fetch = Found<'fetch', (url: string, init?: object) => Promise<object>>;

/** The class `WebSocket`. */
export type SocketClass = Found<'WebSocket', new (url: string, protocols?: string | string[]) => object>;
