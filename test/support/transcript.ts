/** The transcripts of docs/protocol.md, as steps, and what stands in braces in them. */
import assert from 'node:assert/strict';

export type Step = { readonly line: number; readonly text: string } & (
  | { readonly kind: 'connect'; readonly path: string; readonly subprotocol: string }
  | { readonly kind: 'node'; readonly method: string; readonly path: string; readonly body: string | null }
  | { readonly kind: 'client' | 'server' }
  | { readonly kind: 'closed'; readonly code: number }
);

export interface Transcript {
  readonly title: string;
  readonly subprotocol: string;
  readonly steps: readonly Step[];
}

/** @param markdown each transcript is a block of its own, under a heading */
export function transcripts(markdown: string): readonly Transcript[] {
  const found: Transcript[] = [];
  let title = '';
  let steps: Step[] | null = null;
  for (const [index, line] of markdown.split('\n').entries()) {
    if (steps === null) {
      if (line.startsWith('#')) title = line.replace(/^#+ /, '');
      if (line === '```transcript') steps = [];
      continue;
    }
    if (line === '```') {
      const first = steps.find((step) => step.kind === 'connect');
      assert.ok(first?.kind === 'connect', `${title} has no connection`);
      found.push({ title, subprotocol: first.subprotocol, steps });
      steps = null;
    } else if (!line.startsWith('#')) {
      steps.push(stepOf(line, index + 1));
    }
  }
  return found;
}

function stepOf(text: string, line: number): Step {
  const [, sign = '', rest = ''] = /^(=|==|N>|C>|S>) (.*)$/.exec(text) ?? [];
  const [first = '', second = '', ...others] = rest.split(' ');
  switch (sign) {
    case '=':
      return { kind: 'connect', path: first, subprotocol: second, line, text: rest };
    case '==':
      return { kind: 'closed', code: Number(first), line, text: rest };
    case 'N>':
      return {
        kind: 'node',
        method: first,
        path: second,
        body: others.length === 0 ? null : others.join(' '),
        line,
        text: rest,
      };
    case 'C>':
      return { kind: 'client', line, text: rest };
    case 'S>':
      return { kind: 'server', line, text: rest };
    default:
      throw new Error(`line ${line} of the transcript: ${text}`);
  }
}

const NAME = /\{([A-Z][A-Z0-9]*)(?:\+(\d+))?\}/;

/** What the names in braces stand for, as far as it is known. */
export class Names {
  readonly #values = new Map<string, string>();

  value(name: string): string | undefined {
    return this.#values.get(name);
  }

  /** The text with values in the place of names. */
  filled(text: string): string {
    return text.replaceAll(new RegExp(NAME, 'g'), (_all, name: string, plus?: string) => {
      const value = this.#values.get(name);
      assert.ok(value !== undefined, `${name} has no value yet`);
      return plus === undefined ? value : String(Number(value) + Number(plus));
    });
  }

  /** Holds what was said against the transcript; names that are new get their values. */
  check(expected: string, said: string, line: number): void {
    const fresh: string[] = [];
    const pattern = expected.split(new RegExp(NAME, 'g'));
    let source = '';
    // Text, name, addend, text, name, addend, … text.
    for (let index = 0; index < pattern.length; index += 3) {
      source += escaped(pattern[index] ?? '');
      const name = pattern[index + 1];
      if (name === undefined) break;
      const plus = pattern[index + 2];
      if (this.#values.has(name)) source += escaped(this.filled(`{${name}${plus ? `+${plus}` : ''}}`));
      else if (fresh.includes(name)) source += `\\${fresh.indexOf(name) + 1}`;
      else {
        fresh.push(name);
        source += name === 'REST' ? '(.*)' : '([0-9a-f]+)';
      }
    }
    const match = new RegExp(`^${source}$`, 's').exec(said);
    assert.ok(match !== null, `line ${line}\nexpected ${this.#shown(expected)}\nbut it is ${said}`);
    for (const [index, name] of fresh.entries()) {
      if (name !== 'REST') this.#values.set(name, match[index + 1] as string);
    }
  }

  #shown(text: string): string {
    return text.replaceAll(new RegExp(NAME, 'g'), (all, name: string) =>
      this.#values.has(name) ? this.filled(all) : all,
    );
  }
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
