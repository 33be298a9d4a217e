/** Checks the links between the documents, and the paths of files that the documents name. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';

const ROOT = new URL('../', import.meta.url);

/** `src/app.ts`, `test/cluster`: a path in backquotes that begins with one of the repository's folders. */
const PATH = /`((?:src|test|bench|tools|docs|migrations|examples|\.ci|\.github)\/[\w./-]*)`/g;
const LINK = /\]\((?!https?:|#|mailto:)([^)#\s]+)(?:#[^)]*)?\)/g;

/** @returns the paths of all documents, from the repository's root */
export function documents(): readonly string[] {
  const inFolder = (folder: string): readonly string[] =>
    readdirSync(new URL(folder, ROOT), { recursive: true, encoding: 'utf8' }).map(
      (name) => `${folder}${name}`,
    );
  return [
    ...readdirSync(ROOT),
    ...inFolder('docs/'),
    'bench/README.md',
    'examples/README.md',
    'examples/python/README.md',
  ]
    .filter((path) => path.endsWith('.md'))
    .sort();
}

/** @returns one line for each path or link that leads nowhere */
export function brokenReferences(): readonly string[] {
  return documents().flatMap((path) => {
    const document = new URL(path, ROOT);
    // Blocks of code are examples, and may name files that do not exist.
    const text = readFileSync(document, 'utf8').replaceAll(/^```[\s\S]*?^```/gm, '');
    const named = [...text.matchAll(PATH)].map((match) => new URL(match[1] ?? '', ROOT));
    const linked = [...text.matchAll(LINK)].map((match) => new URL(match[1] ?? '', document));
    return [...named, ...linked]
      .filter((url) => !existsSync(url))
      .map((url) => `${path} names ${url.pathname.slice(ROOT.pathname.length)}, which is not there`);
  });
}
