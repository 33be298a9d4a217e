/** psyncd/client/collection: typed entries of a mirror, by prefix and in order. */

export {
  Collection,
  type CollectionOptions,
  collection,
  type DecodeFault,
  type TypedEntry,
} from './collection.ts';
export type { Decode, StandardSchema } from './decoder.ts';
export { compareKeys } from './key-order.ts';
export type { EntrySource } from './source.ts';
