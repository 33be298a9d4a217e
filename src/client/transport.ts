/** What the client calls nodes with. */

/** `fetch` and `WebSocket` in the place of those of the platform. In Node, `psyncd/client/node` makes one with certificates. */
export interface Transport {
  readonly fetch: typeof fetch;
  readonly WebSocket: typeof WebSocket;
}
