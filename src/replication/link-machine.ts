/**
 * The replica's side of the replication conversation, without sockets: received bytes in, effects out. `link-phases.ts` draws its
 * phases, and `link-step.ts` has their answers.
 *
 * Owns: the phase of the conversation, and the start of a line that has not arrived completely.
 * Invariant: the effects depend on the bytes alone, never on how they were cut into messages.
 */
import type { LinkEffect, LinkPhase, LinkRequest } from './link-phases.ts';
import { bytesStep, lineStep, MAX_LINE_BYTES } from './link-step.ts';

const NEWLINE = 0x0a;

export class LinkMachine {
  readonly #request: LinkRequest;
  #phase: LinkPhase = { kind: 'ping' };
  #line = '';

  constructor(request: LinkRequest) {
    this.#request = request;
  }

  /** @returns the effects of an open connection: the replica speaks first */
  start(): readonly LinkEffect[] {
    return [{ kind: 'send', words: ['PING'] }];
  }

  /**
   * Takes received bytes; the caller must not change them afterwards.
   * @returns the effects to carry out, in this order; nothing follows `protocol-error` and `not-served`
   */
  receive(bytes: Buffer): readonly LinkEffect[] {
    const effects: LinkEffect[] = [];
    let rest = bytes;
    while (rest.length > 0) {
      const phase = this.#phase;
      switch (phase.kind) {
        case 'over':
          return effects;
        case 'snapshot':
        case 'stream': {
          const part = phase.kind === 'snapshot' ? rest.subarray(0, phase.left) : rest;
          rest = rest.subarray(part.length);
          this.#take(bytesStep(phase, part), effects);
          break;
        }
        default: {
          const end = rest.indexOf(NEWLINE);
          const part = end === -1 ? rest : rest.subarray(0, end + 1);
          rest = rest.subarray(part.length);
          const line = this.#lineWith(part);
          if (line !== undefined) this.#take(lineStep(phase, line, this.#request), effects);
        }
      }
    }
    return effects;
  }

  /** @returns the line without its end, if the part completes it; null if it is too long; else undefined */
  #lineWith(part: Buffer): string | null | undefined {
    this.#line += part.toString('latin1');
    const line = this.#line;
    if (line.length > MAX_LINE_BYTES) return null;
    if (!line.endsWith('\n')) return undefined;
    this.#line = '';
    return line.replace(/\r?\n$/, '');
  }

  #take([phase, effects]: ReturnType<typeof lineStep>, all: LinkEffect[]): void {
    this.#phase = phase;
    for (const effect of effects) all.push(effect);
  }
}
