/** Makes docs/client-reference.md from the declarations that the compiler makes of the client. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** The entries of the package, in the order of the page. */
const ENTRIES = [
  ['psyncd-client', 'index.d.ts'],
  ['psyncd-client/full', 'full/index.d.ts'],
  ['psyncd-client/admin', 'admin/index.d.ts'],
  ['psyncd-client/collection', 'collection/index.d.ts'],
  ['psyncd-client/optimistic', 'optimistic/index.d.ts'],
  ['psyncd-client/react', 'react/index.d.ts'],
] as const;

const INTRODUCTION = `<!-- Made by tools/docs.ts from the types of src/client: run \`npm run docs\` after a change there. -->

# Reference of psyncd-client

Every name that the package exports, with its type. [client.md](client.md) explains how they are used. \`psyncd/client\` is the same as
\`psyncd-client\`, \`psyncd/client/full\` as \`psyncd-client/full\`, and so on.
`;

const HELPERS = `
Types that the ones above name. No entry exports them, so an application cannot import them.
`;

export function clientPage(): string {
  const folder = mkdtempSync(join(tmpdir(), 'psyncd-docs-'));
  try {
    const tsc = join(ROOT, 'node_modules', '.bin', 'tsc');
    const flags = ['-p', 'tsconfig.client.json', '--noEmit', 'false', '--emitDeclarationOnly'];
    execFileSync(tsc, [...flags, '--outDir', folder], { cwd: ROOT });
    return pageOf(join(folder, 'client'));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function pageOf(folder: string): string {
  const shown = new Set<string>();
  const listed: Declaration[] = [];
  const sections = ENTRIES.filter(([, file]) => existsSync(join(folder, file))).map(([name, file]) => {
    const exported = exportsOf(join(folder, file));
    // What another entry exports too is shown there.
    const own = exported.filter(({ text }) => !shown.has(text));
    for (const { text } of own) shown.add(text);
    listed.push(...own);
    const [things, types] = [own.filter(isThing), own.filter((each) => !isThing(each))];
    return `\n## ${name}\n${[...things, ...types].map(section).join('')}`;
  });
  const helpers = helpersOf(listed);
  return `${INTRODUCTION}${sections.join('')}\n## Helper types\n${HELPERS}${helpers.map(section).join('')}`;
}

/**
 * @param listed the declarations of the page
 * @returns the types that these name, and those that they name in turn, but the page does not have
 */
function helpersOf(listed: readonly Declaration[]): readonly Declaration[] {
  const known = new Set(listed.map(({ name }) => name));
  const all = [...listed];
  for (const { file = '', text } of all) {
    for (const [name] of withoutProse(text).matchAll(/\b[A-Z]\w*\b/g)) {
      const found = known.has(name) ? undefined : typeIn(file, name);
      if (found === undefined) continue;
      known.add(name);
      all.push(found);
    }
  }
  return all.slice(listed.length).sort((left, right) => (left.name < right.name ? -1 : 1));
}

/** @returns the type that has this name in a file, also one that the file does not export or imports; undefined: there is none */
function typeIn(file: string, name: string): Declaration | undefined {
  const text = readFileSync(file, 'utf8');
  // The compiler leaves what a file does not export without the word.
  const local = text.replaceAll(/^(?:declare )?(?=(?:type|interface) \w)/gm, 'export ');
  const found = declarationsIn(local).find((each) => each.name === name && !isThing(each));
  if (found !== undefined) return { ...found, file };
  for (const [, names = '', path = ''] of text.matchAll(
    /^import (?:type )?\{([^}]*)\} from '(\..*)\.ts';$/gm,
  )) {
    if (names.match(/\w+(?=,|\s*$)/g)?.includes(name) === true)
      return typeIn(join(dirname(file), `${path}.d.ts`), name);
  }
  return undefined;
}

/** Leaves out comments and texts, which name other things. */
function withoutProse(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\/|'[^'\n]*'/g, '');
}

interface Declaration {
  readonly name: string;
  /** The comment before it, without its signs; empty: there is none. */
  readonly comment: string;
  /** The declaration itself. */
  readonly text: string;
  /** The file of declarations. */
  readonly file?: string;
}

/** Whether it is there when the program runs. */
function isThing({ text }: Declaration): boolean {
  return /^(?:class|function|const)\b/.test(text);
}

const EXPORT = /^export (type )?(\*|\{[^}]*\}) from '(.*)\.ts';$/gm;

/** @returns the declarations that a file exports of other files */
function exportsOf(file: string): readonly Declaration[] {
  return [...readFileSync(file, 'utf8').matchAll(EXPORT)].flatMap(([, type, names = '', path = '']) => {
    const target = join(dirname(file), `${path}.d.ts`);
    const declared = declarationsOf(target);
    const all = declared.length > 0 ? declared : exportsOf(target);
    if (names === '*') return type === undefined ? all : all.filter((each) => !isThing(each));
    const wanted = names.match(/\w+(?=,|\s*\})/g) ?? [];
    return wanted.map((name) => {
      const found = [...declared, ...exportsOf(target)].find((each) => each.name === name);
      if (found === undefined) throw new Error(`${file} exports ${name}, which ${target} does not have`);
      return found;
    });
  });
}

/** The comment, and the declaration. A class or interface ends with a brace, anything else with `;`. */
const DECLARATION =
  /^(?:\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\n)?export (?:declare )?((?:(?:abstract )?class|interface) \w+[\s\S]*?^\}|(?:function|type|const) \w+[\s\S]*?;)$(?=\n(?:\/\*\*|export|import|declare|type|interface|const|$)|$(?![\s\S]))/gm;
const NAME = /^(?:abstract )?\w+ (\w+)/;

/**
 * @param text a file of declarations, as the compiler makes it
 * @returns what it declares and exports itself; the overloads of a function are one declaration
 */
export function declarationsIn(text: string): readonly Declaration[] {
  const found = new Map<string, Declaration>();
  for (const [, comment = '', declared = ''] of text.matchAll(DECLARATION)) {
    const name = NAME.exec(declared)?.[1] ?? '';
    const before = found.get(name);
    const shown = declared.replaceAll(/^ {4}#private;\n| +$/gm, '');
    found.set(name, {
      name,
      comment: before?.comment ?? comment.replaceAll(/^ ?\* ?/gm, '').trim(),
      text: before === undefined ? shown : `${before.text}\n${shown}`,
    });
  }
  return [...found.values()];
}

function declarationsOf(file: string): readonly Declaration[] {
  return declarationsIn(readFileSync(file, 'utf8')).map((each) => ({ ...each, file }));
}

function section({ name, comment, text }: Declaration): string {
  const prose = comment === '' ? '' : `\n${prosed(comment)}\n`;
  // Two blanks for each level, as in the source.
  const indented = text.replaceAll(/^(?: {4})+/gm, (blanks) => ' '.repeat(blanks.length / 2));
  return `\n### ${name}\n${prose}\n\`\`\`ts\n${indented}\n\`\`\`\n`;
}

/** Makes a list of the parameters, what is returned, and what is thrown. */
function prosed(comment: string): string {
  const [text = '', ...tags] = `\n${comment}`.split(/\s(?=@(?:param|returns|throws|typeParam|see)\b)/);
  const items = tags.map((tag) => {
    const words = tag.replaceAll(/\s+/g, ' ').trim();
    return words
      .replace(/^@(?:param|typeParam) (\S+) (.*)$/, '- `$1`: $2')
      .replace(/^@returns (.*)$/, '- Returns $1')
      .replace(/^@throws (.*)$/, '- Throws $1')
      .replace(/^@see (.*)$/, '- See $1');
  });
  return [text.trim(), items.join('\n')].filter((part) => part !== '').join('\n\n');
}
