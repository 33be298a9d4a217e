/** psyncd/client/node: what only Node can do for psyncd/client, and pages leave to their browser. */
export { nodeTransport, type TlsMaterial } from './transport.ts';
