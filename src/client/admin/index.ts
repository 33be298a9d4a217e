/** psyncd/client/admin: the calls of operators, beside those of `Client` of psyncd/client/full. */

export * from '../full/index.ts';
export { AdminClient, type OwnOptions, type WantedNode } from './admin-client.ts';
export type * from './answers.ts';
