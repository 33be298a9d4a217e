/** README.md and docs/: every command is run as it stands there, and prints what the document shows. */
import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import test from 'node:test';
import { PROBLEMS } from '../src/node/problem.ts';
import { declarationsIn } from '../tools/client-page.ts';
import { documents } from '../tools/references.ts';
import { document } from './support/contract.ts';
import { abbreviated, blocksOf, DocumentSession, showsTheSame } from './support/document-session.ts';

/** WRITE_DOCS=1 puts what was printed into the documents, where they show something else. */
const WRITE = process.env.WRITE_DOCS === '1';

for (const path of documents()) {
  const file = new URL(`../${path}`, import.meta.url);
  const text = await readFile(file, 'utf8');
  const blocks = blocksOf(text);
  if (blocks.length === 0) continue;

  test(`${path}: every command works, and prints what is shown`, async (t) => {
    if (blocks.every(({ reason }) => reason !== null)) return;
    const session = await DocumentSession.open(t);
    let written = text;
    // From the last one on in the end, so that no place moves.
    const changes: [from: number, to: number, printed: string][] = [];
    const runIds: string[] = [];
    for (const block of blocks) {
      if (block.reason !== null) continue;
      const printed = await session.run(block);
      const shorter = abbreviated(printed.trim(), runIds);
      if (block.output === null) {
        assert.doesNotMatch(
          printed,
          /"code":"[A-Z_]+"/,
          `${path}, line ${block.line}: an error that is not shown`,
        );
      } else if (!showsTheSame(block.output, printed)) {
        if (!WRITE) assert.equal(shorter, block.output.trim(), `${path}, line ${block.line}`);
        if (block.outputAt !== null) changes.push([...block.outputAt, `${shorter}\n`]);
      }
    }
    for (const [from, to, printed] of changes.reverse())
      written = `${written.slice(0, from)}${printed}${written.slice(to)}`;
    if (written !== text) await writeFile(file, written);
  });
}

test('every block of commands is one that is run, or says why not', async () => {
  for (const path of documents()) {
    const text = await readFile(new URL(`../${path}`, import.meta.url), 'utf8');
    for (const [fence = '', language] of text.matchAll(/^```(\w*)\n[\s\S]*?^```$/gm)) {
      const isCommand = /^(npm|npx|curl|psyncd|docker|systemctl|node) /m.test(fence);
      assert.ok(
        !isCommand || language === 'sh' || language === 'text',
        `${path}: commands in a block that is not marked sh:\n${fence}`,
      );
    }
  }
});

test('docs/http-api.md explains every code of an error, with its status', async () => {
  const text = await readFile(new URL('../docs/http-api.md', import.meta.url), 'utf8');
  const rows = [...text.matchAll(/^\| `([A-Z_]+)` \| (\d+) \| .+ \| .+ \|$/gm)];
  const explained = Object.fromEntries(rows.map(([, code = '', status]) => [code, Number(status)]));
  const known = Object.fromEntries(Object.entries(PROBLEMS).map(([code, { status }]) => [code, status]));
  assert.deepEqual(explained, known);
});

test('the reference of the client shows every type of the client that it names', async () => {
  const text = await readFile(new URL('../docs/client-reference.md', import.meta.url), 'utf8');
  const shown = new Set([...text.matchAll(/^### (\w+)$/gm)].map(([, name = '']) => name));
  const folder = new URL('../src/client/', import.meta.url);
  const files = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith('.ts'));
  const sources = await Promise.all(files.map((name) => readFile(new URL(name, folder), 'utf8')));
  const declared = new Set(
    sources.join('\n').match(/(?<=^(?:export )?(?:declare )?(?:type|interface|(?:abstract )?class) )\w+/gm),
  );
  const code = [...text.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, each = '']) => each).join('');
  const named = code.replaceAll(/\/\*[\s\S]*?\*\/|'[^'\n]*'/g, '').match(/(?<!\.)\b[A-Z]\w*\b/g) ?? [];
  const parameters = new Set([...code.matchAll(/[<,] ?(\w+) extends /g)].map(([, name = '']) => name));
  const missing = [...new Set(named)].filter(
    (name) => declared.has(name) && !shown.has(name) && !parameters.has(name),
  );
  assert.deepEqual(missing, []);
});

test('docs/http-api.md lists every operation of openapi.yaml', async () => {
  const text = await readFile(new URL('../docs/http-api.md', import.meta.url), 'utf8');
  const listed = new Set(
    [...text.matchAll(/^\| (`.*?) \| /gm)].flatMap(([, cell = '']) => {
      const paths = [...cell.matchAll(/(\/[a-z][^\s`?]*)/g)].map(([, path]) => path);
      const methods = [...cell.matchAll(/\b(?:GET|HEAD|PUT|POST|PATCH|DELETE)\b/g)].map(([method]) => method);
      return paths.flatMap((path) =>
        (methods.length === 0 ? ['GET'] : methods).map((each) => `${each} ${path}`),
      );
    }),
  );
  const operations = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.keys(item).map((method) => `${method.toUpperCase()} ${path}`),
  );
  assert.ok(operations.length > 30);
  assert.deepEqual(
    operations.filter((each) => !listed.has(each)),
    [],
  );
});

test('the reference of the client shows a union to its end, and every overload', () => {
  const union =
    "type State = \n/** One. */\n{\n    kind: 'one';\n}\n/** Two; last. */\n | {\n    kind: 'two';\n};";
  const text = `/** States. */
export ${union}
export declare function pick(key: string): {
    one: 1;
};
export declare function pick(): void;
export declare class Thing {
    #private;
    get(): void;
}
`;
  assert.deepEqual(declarationsIn(text), [
    { name: 'State', comment: 'States.', text: union.replace('= ', '=') },
    {
      name: 'pick',
      comment: '',
      text: 'function pick(key: string): {\n    one: 1;\n};\nfunction pick(): void;',
    },
    { name: 'Thing', comment: '', text: 'class Thing {\n    get(): void;\n}' },
  ]);
});
