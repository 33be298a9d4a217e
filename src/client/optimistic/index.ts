/** psyncd/client/optimistic: writes that a mirror shows at once, and takes back if the node refuses them. */

export { OptimisticMirror, optimistic } from './optimistic.ts';
export {
  LostBasisError,
  type OptimisticEvents,
  type OptimisticOptions,
  TooManyWritesError,
  type WriteOptions,
} from './optimistic-options.ts';
export type { Accepted, OptimisticEntry } from './pending-write.ts';
export { UncertainWriteError, type Writer } from './sending.ts';
