/**
 * Finds a place in the source by the name of the function or member around it and a piece of its code.
 *
 * White space and comments between the words of the code do not count, nor does the file. So a place stays found when
 * lines are moved within a function, comments change, or a class moves to another file. It relies on the layout that
 * `npm run check` enforces: a declaration ends with a closing brace at the indentation where it began.
 */
import { glob, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** The code between two places of a file. */
export interface CodePlace {
  /** Path of the file, relative to the folder. */
  readonly path: string;
  readonly text: string;
  readonly from: number;
  readonly to: number;
}

/** Matches what may be between two words of code. */
const GAP = String.raw`(?:\s|//[^\n]*\n|/\*[\s\S]*?\*/)*`;
const WORD = /\w+|[^\s\w]/g;

/** Paths and contents of the source files below a folder. */
export async function sourcesOf(folder: string): Promise<ReadonlyMap<string, string>> {
  const sources = new Map<string, string>();
  for await (const path of glob('**/*.ts', { cwd: folder })) {
    sources.set(path, await readFile(join(folder, path), 'utf8'));
  }
  return sources;
}

/**
 * @param name `function`, or `Class.member`
 * @param code of which the declaration has exactly one copy
 * @throws Error unless exactly one declaration of this name has the code, once
 */
export function findCode(sources: ReadonlyMap<string, string>, name: string, code: string): CodePlace {
  const wanted = new RegExp((code.match(WORD) ?? []).map(quoted).join(GAP), 'g');
  const found = [...sources].flatMap(([path, text]) =>
    declarations(text, name).flatMap(({ from, to }) =>
      [...text.slice(from, to).matchAll(wanted)].map(({ index, 0: { length } }): CodePlace => {
        return { path, text, from: from + index, to: from + index + length };
      }),
    ),
  );
  const [place] = found;
  if (place === undefined || found.length > 1) {
    throw new Error(`${name} has ${found.length} times ${code}`);
  }
  return place;
}

interface Range {
  readonly from: number;
  readonly to: number;
}

/** Returns all declarations of the name in a source file. */
function declarations(text: string, name: string): readonly Range[] {
  const [outer = '', member] = name.split('.');
  const kind = member === undefined ? 'function' : 'class';
  const tops = ranges(text, '', String.raw`(?:export )?(?:async )?${kind} ${quoted(outer)}\b`);
  if (member === undefined) return tops;
  return tops.flatMap(({ from, to }) =>
    ranges(
      text.slice(from, to),
      '  ',
      String.raw`(?:(?:static|async|get|set|override) )*${quoted(member)}\(`,
    ).map((range) => ({ from: from + range.from, to: from + range.to })),
  );
}

/** Returns what begins with the pattern at the indentation, up to the closing brace at that indentation. */
function ranges(text: string, indentation: string, pattern: string): readonly Range[] {
  const begins = new RegExp(`^${indentation}${pattern}`, 'gm');
  return [...text.matchAll(begins)].map(({ index }) => {
    // The end of a long list of parameters may begin with such a brace, but more follows on its line.
    const end = text.indexOf(`\n${indentation}}\n`, index);
    return { from: index, to: end === -1 ? text.length : end };
  });
}

/** Returns a pattern that matches this text only. */
function quoted(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, String.raw`\$&`);
}
