/** Dockerfiles without a container engine: their steps, done in a folder. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdir } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { promisify } from 'node:util';
import { type Copy, DockerfileParser, type Instruction, JSONInstruction } from 'dockerfile-ast';

const execute = promisify(execFile);

/** How a test does the step of a RUN line; a reason: it does not, and what it does instead. */
export type RunRule =
  | 'as it is'
  | { readonly not: string; readonly instead: (stage: Stage) => Promise<void> };

export class Stage {
  /** Stands for `/`. */
  readonly root: string;
  /** Path in the container. */
  workdir = '/';
  readonly environment: Record<string, string> = {};
  /** The arguments of each other line, by its keyword. */
  readonly lines = new Map<string, string>();

  constructor(root: string) {
    this.root = root;
  }

  /** @returns where a path of the container is here */
  at(path: string): string {
    return join(this.root, isAbsolute(path) ? path : join(this.workdir, path));
  }

  /** @returns the text with the paths of the container replaced by those here */
  mapped(text: string): string {
    return text.replaceAll(/(?<=^|[\s"])\//g, `${this.root}/`);
  }

  /** @returns the words of a line in JSON form */
  words(keyword: string): readonly string[] {
    const [, json = ''] = /(\[.*\])$/.exec(this.lines.get(keyword) ?? '') ?? [];
    return JSON.parse(json) as string[];
  }
}

interface Build {
  /** Folder that the stages are made in. */
  readonly folder: string;
  /** What COPY lines copy from. */
  readonly context: string;
  /** By the text of the line. A line without a rule is an error. */
  readonly rules: Readonly<Record<string, RunRule>>;
  /** Called with what was done for each RUN line. */
  readonly told: (text: string) => void;
}

/** @returns the last stage, and the paths of the context that were copied */
export async function build(
  dockerfile: string,
  { folder, context, rules, told }: Build,
): Promise<{ readonly stage: Stage; readonly copied: ReadonlySet<string> }> {
  const stages = new Map<string, Stage>();
  const copied = new Set<string>();
  let stage = new Stage(folder);
  for (const line of DockerfileParser.parse(dockerfile).getInstructions()) {
    const keyword = line.getKeyword();
    const text = line.getArgumentsContent() ?? '';
    if (keyword === 'FROM') {
      const name = / AS (\w+)$/.exec(text)?.[1] ?? 'last';
      stage = new Stage(join(folder, name));
      stages.set(name, stage);
      // Where images have the commands that are added to them.
      await mkdir(stage.at('/usr/local/bin'), { recursive: true });
    } else if (keyword === 'WORKDIR') {
      stage.workdir = text;
      await mkdir(stage.at('.'), { recursive: true });
    } else if (keyword === 'COPY') {
      await copy(line as Copy, stage, { stages, context, copied });
    } else if (keyword === 'RUN') {
      const rule = rules[text];
      assert.ok(rule !== undefined, `the test knows how to run: ${text}`);
      if (rule === 'as it is') await execute('sh', ['-c', stage.mapped(text)], { cwd: stage.at('.') });
      else await rule.instead(stage);
      told(rule === 'as it is' ? `run: ${text}` : `not run: ${text} (${rule.not})`);
    } else if (keyword === 'ENV') {
      for (const word of wordsOf(line)) {
        const [name = '', value = ''] = word.split('=');
        stage.environment[name] = stage.mapped(value);
      }
    } else {
      stage.lines.set(keyword, text);
    }
  }
  return { stage, copied };
}

function wordsOf(line: Instruction): string[] {
  return line.getArguments().map((each) => each.getValue());
}

async function copy(
  line: Copy,
  stage: Stage,
  {
    stages,
    context,
    copied,
  }: {
    readonly stages: ReadonlyMap<string, Stage>;
    readonly context: string;
    readonly copied: Set<string>;
  },
): Promise<void> {
  assert.ok(line instanceof JSONInstruction && line.getOpeningBracket() === null);
  const words = wordsOf(line);
  const target = words.pop() ?? '';
  const from = line.getFromFlag()?.getValue();
  for (const source of words) {
    if (from == null) copied.add(source);
    const path = from == null ? join(context, source) : stages.get(from)?.at(source);
    assert.ok(path !== undefined, `there is a stage ${from}`);
    const to = stage.at(target.endsWith('/') ? join(target, basename(source)) : target);
    await mkdir(dirname(to), { recursive: true });
    await cp(path, to, { recursive: true });
  }
}
