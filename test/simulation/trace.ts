/**
 * What happened in a run, line by line, and one number over all of it: two runs of the same seed are the same run if
 * and only if their numbers are.
 */
export class Trace {
  readonly #keep: number;
  readonly #counts = new Map<string, number>();
  #lines: string[] = [];
  #low = 0x811c9dc5;
  #high = 0x9e3779b9;

  /** @param keep how many of the last lines are kept */
  constructor(keep: number) {
    this.#keep = keep;
  }

  /** @param at milliseconds of virtual time */
  note(at: number, text: string): void {
    const line = `${at.toFixed(3).padStart(12)} ${text}`;
    this.mix(line);
    this.#lines.push(line);
    if (this.#lines.length > this.#keep * 2) this.#lines = this.#lines.slice(-this.#keep);
  }

  /** Counted in the hash, too frequent for a line. */
  mix(text: string): void {
    for (let index = 0; index < text.length; index += 1) {
      const unit = text.charCodeAt(index);
      this.#low = Math.imul(this.#low ^ unit, 0x01000193);
      this.#high = Math.imul(this.#high ^ unit, 0x85ebca6b) ^ (this.#high >>> 13);
    }
  }

  count(what: string): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + 1);
  }

  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  get lines(): readonly string[] {
    return this.#lines.slice(-this.#keep);
  }

  /** 16 hex digits. */
  get hash(): string {
    const hex = (value: number): string => (value >>> 0).toString(16).padStart(8, '0');
    return hex(this.#high) + hex(this.#low);
  }
}
