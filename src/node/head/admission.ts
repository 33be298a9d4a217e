/** The head's one answer to the write turn: which writers may continue now, and for what the others wait. */

export type Admission =
  /** Single writes and the first bulk request may continue. */
  | { readonly kind: 'go' }
  /** Single writes may continue. Bulk requests wait for `ms` milliseconds; null: until the applier makes room. */
  | { readonly kind: 'singles-only'; readonly ms: number | null }
  /** All writers wait until the applier, or a checkpoint of the journal, makes room. */
  | { readonly kind: 'wait-for-room' }
  /** All writers wait for `ms` milliseconds, so that the remaining room lasts until the applier's commit finishes. */
  | { readonly kind: 'pause'; readonly ms: number };

const GO: Admission = { kind: 'go' };
const WAIT_FOR_ROOM: Admission = { kind: 'wait-for-room' };
const SINGLES_UNTIL_ROOM: Admission = { kind: 'singles-only', ms: null };

/**
 * Decides who may write now. Allocates only for a pause, because the write turn asks before each turn.
 * @param full the overlay has no room at all, or a checkpoint of the journal is about to end
 * @param crowded only the room that single writes keep for themselves is left
 * @param bulkFits the first bulk request leaves single writes their room
 * @param pauseMs the pause that the pace of the applier asks for, in milliseconds; 0: none
 */
export function admissionFor(full: boolean, crowded: boolean, bulkFits: boolean, pauseMs: number): Admission {
  if (full) return WAIT_FOR_ROOM;
  if (crowded) return pauseMs > 0 ? { kind: 'pause', ms: pauseMs } : SINGLES_UNTIL_ROOM;
  if (!bulkFits) return SINGLES_UNTIL_ROOM;
  return pauseMs > 0 ? { kind: 'singles-only', ms: pauseMs } : GO;
}
