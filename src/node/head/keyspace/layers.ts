/**
 * The state at the head of the stream in two layers: the overlay holds the newest writes, the keyspace file holds the rest.
 * A lookup asks the overlay first. A snapshot replaces both layers.
 *
 * Owns: the overlay with its chunk pool, and the count of changes of the keyspace file.
 */
import { ChunkPool } from '../../../keyspace/overlay/chunk-pool.ts';
import { Overlay } from '../../../keyspace/overlay/overlay.ts';
import type { Keyspace } from '../../ports/keyspace.ts';
import type { HeadSettings } from '../head-parts.ts';

export class Layers {
  readonly #settings: Pick<HeadSettings, 'overlayBytes'>;
  #overlay: Overlay;
  #keyspace: Keyspace;
  #appliedCount = 0;

  /** @param settings the chunk pool reads `overlayBytes` each time, so a change takes effect while the node runs */
  constructor(settings: Pick<HeadSettings, 'overlayBytes'>, keyspace: Keyspace) {
    this.#settings = settings;
    this.#overlay = newOverlay(settings);
    this.#keyspace = keyspace;
  }

  get overlay(): Overlay {
    return this.#overlay;
  }

  get keyspace(): Keyspace {
    return this.#keyspace;
  }

  /** Number of times that the applier changed the keyspace file, or a snapshot replaced it. */
  get appliedCount(): number {
    return this.#appliedCount;
  }

  /** Notes that the applier changed the keyspace file. */
  countApplied(): void {
    this.#appliedCount += 1;
  }

  /**
   * Puts the keyspace file of a snapshot in place of both layers.
   * @returns the keyspace before, which the caller closes
   */
  replace(keyspace: Keyspace): Keyspace {
    const before = this.#keyspace;
    this.#keyspace = keyspace;
    this.#appliedCount += 1;
    // The new overlay takes memory of its own, because the old applier may still read the memory of the old overlay.
    this.#overlay = newOverlay(this.#settings);
    return before;
  }
}

function newOverlay(settings: Pick<HeadSettings, 'overlayBytes'>): Overlay {
  return new Overlay(new ChunkPool(() => settings.overlayBytes));
}
