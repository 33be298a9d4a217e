/** Whether nodes at one position have the same data; where they may differ, because a master was rolled back unnoticed. */
import assert from 'node:assert/strict';
import type { DigestAnswer } from '../../src/client/rest.ts';
import { type Position, parsePosition } from '../../src/replication/position.ts';
import type { Place } from './place.ts';
import type { Answered } from './writer.ts';

/** A node that answers no digest within so long is not compared this time. */
const DIGEST_MS = 2_000;

export class Divergence {
  /** Where masters were rolled back unnoticed: under one run ID two streams begin there. */
  readonly #forks: Position[] = [];
  readonly #count: (what: string) => void;

  /** @param count notes what was compared */
  constructor(count: (what: string) => void) {
    this.#count = count;
  }

  /** A master was rolled back to here. */
  fork(at: Position): void {
    this.#forks.push(at);
  }

  /** No two nodes are at one position with different data. */
  async compare(places: readonly Place[]): Promise<void> {
    const answers = await Promise.all(
      places.map(async ({ name, node }) => ({ name, answer: await digestOf(node.url) })),
    );
    const seen = new Map<string, { readonly name: string; readonly answer: DigestAnswer }>();
    for (const { name, answer } of answers) {
      if (answer === null) continue;
      const other = seen.get(answer.position);
      seen.set(answer.position, { name, answer });
      if (other === undefined) continue;
      this.#count('digests compared');
      if (other.answer.digest === answer.digest) continue;
      // Until somebody who has the lost bytes meets the node that was rolled back, its positions may be theirs.
      const position = parsePosition(answer.position) as Position;
      const isForked = this.#isForked(position);
      assert.ok(isForked, `${name} and ${other.name} are both at ${answer.position}, with different data`);
      this.#count('pairs at one position after a roll-back that nobody had noticed yet');
    }
  }

  /**
   * Two streams have its position, and only the hash would tell them apart: a master was rolled back behind it, before or
   * after it was answered, and either stream may come back with a copy.
   */
  isExcused({ position }: Answered): boolean {
    const parsed = parsePosition(position);
    return parsed === null || this.#isForked(parsed);
  }

  #isForked({ runId, offset }: Position): boolean {
    return this.#forks.some((fork) => fork.runId === runId && fork.offset < offset);
  }
}

async function digestOf(url: string): Promise<DigestAnswer | null> {
  try {
    const answer = await fetch(`${url}/v1/digest`, { signal: AbortSignal.timeout(DIGEST_MS) });
    return answer.ok ? ((await answer.json()) as DigestAnswer) : null;
  } catch {
    return null;
  }
}
