/** The source stays in pieces that a reader can hold: files, folders and functions have a largest size. */
import assert from 'node:assert/strict';
import { glob, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

const SRC = fileURLToPath(new URL('../src/', import.meta.url));

/** A file with more lines says why at its head, in a line that matches `REASON`. */
const MAX_FILE_LINES = 350;
const REASON = /^(?: \*|\/\/) Over 350 lines: \S.{20,}$/m;
const MAX_FOLDER_FILES = 15;
const MAX_FUNCTION_LINES = 60;
/** Longer functions and files that are as they are for now, with the reason. */
const EXCEPTIONS: Readonly<Record<string, string>> = {
  'client/follow.ts followed':
    'a page pays for each function with bytes, and `follow` alone has a limit of 3.2 kB',
  'client/feed-socket.ts openSocket': 'the same',
};

/** Begins a function: a declaration, a method or an arrow function with a block. */
const FUNCTION =
  /\bfunction\b|=> \{$|^\s+(?:(?:static|async|get|set|override) )*\*?#?(?!(?:if|for|while|switch|catch|do)\b)\w+(?:<.*>)?\(/;
/** The word before the parameters, or before the sign of an assignment. */
const NAME = /(#?\w+)(?:<[^(]*>)?(?:\(| =)/;

/** Paths below `src`, with their lines; without the files that are made. */
async function sources(): Promise<ReadonlyMap<string, readonly string[]>> {
  const found = new Map<string, readonly string[]>();
  for await (const file of glob('**/*.ts', { cwd: SRC })) {
    const path = file.replaceAll('\\', '/');
    if (path.startsWith('http/generated/')) continue;
    found.set(path, (await readFile(`${SRC}${path}`, 'utf8')).trimEnd().split('\n'));
  }
  return found;
}

/**
 * The functions of a file, each with its number of lines. Relies on the layout that `npm run check` enforces: a block
 * ends with a brace at the indentation where its declaration began.
 */
function functions(lines: readonly string[]): [name: string, length: number][] {
  return lines.flatMap((line, index): [string, number][] => {
    if (!line.endsWith('{')) return [];
    const indentation = / */.exec(line)?.[0] ?? '';
    const isOwn = (at: number): boolean => new RegExp(`^${indentation}\\S`).test(lines[at] ?? '');
    let begin = index;
    // The parameters stand on lines of their own.
    if (line.startsWith(`${indentation})`))
      do begin -= 1;
      while (begin > 0 && !isOwn(begin));
    const head = lines[begin] ?? '';
    if (!FUNCTION.test(head) && !line.endsWith('=> {')) return [];
    const end = lines.findIndex((each, at) => at > index && each.startsWith(`${indentation}}`));
    return [[NAME.exec(head)?.[1] ?? head.trim(), end - begin + 1]];
  });
}

test('a long file says at its head why it is long', async () => {
  const found = [...(await sources())]
    .filter(([path, lines]) => lines.length > MAX_FILE_LINES && !Object.hasOwn(EXCEPTIONS, path))
    .filter(
      ([, lines]) =>
        !REASON.test(
          lines
            .slice(
              0,
              lines.findIndex((line) => /^import\b/.test(line)),
            )
            .join('\n'),
        ),
    )
    .map(
      ([path, lines]) => `${path} has ${lines.length} lines; ${MAX_FILE_LINES} are the most without a reason`,
    );
  assert.deepEqual(found, []);
});

test('no folder has more files than a reader can survey', async () => {
  const counts = new Map<string, number>();
  for (const path of (await sources()).keys()) {
    const folder = dirname(path);
    counts.set(folder, (counts.get(folder) ?? 0) + 1);
  }
  const found = [...counts]
    .filter(([, files]) => files > MAX_FOLDER_FILES)
    .map(([folder, files]) => `${folder} has ${files} files; ${MAX_FOLDER_FILES} are the most`);
  assert.deepEqual(found, []);
});

test('no function is longer than a reader can see at once', async () => {
  const found: string[] = [];
  for (const [path, lines] of await sources()) {
    for (const [name, length] of functions(lines)) {
      if (length > MAX_FUNCTION_LINES && !Object.hasOwn(EXCEPTIONS, `${path} ${name}`)) {
        found.push(`${path}: ${name} has ${length} lines; ${MAX_FUNCTION_LINES} are the most`);
      }
    }
  }
  assert.deepEqual(found, []);
});

test('each exception from these sizes still needs to be one', async () => {
  const files = await sources();
  const unneeded = Object.keys(EXCEPTIONS).filter((exception) => {
    const [path = '', wanted] = exception.split(' ');
    const lines = files.get(path) ?? [];
    if (wanted === undefined) return lines.length <= MAX_FILE_LINES;
    return !functions(lines).some(([name, length]) => name === wanted && length > MAX_FUNCTION_LINES);
  });
  assert.deepEqual(unneeded, []);
});

test('the length of a function is counted from its name to its last brace', () => {
  const lines = [
    'export async function one(): Promise<void> {',
    '  await two(() => {',
    '    three();',
    '  });',
    '}',
    'class Some {',
    '  static make(',
    '    part: string,',
    '  ): Some {',
    '    if (part) {',
    '      return new Some();',
    '    }',
    '  }',
    '}',
  ];
  assert.deepEqual(functions(lines), [
    ['one', 5],
    ['two', 3],
    ['make', 7],
  ]);
});
