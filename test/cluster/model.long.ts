/**
 * Random sequences of all operations, against a Map as the model: every answer is as the model says, and afterwards
 * the master, a replica, and the master after a restart hold what the model holds. `PSYNCD_SEED=N` repeats a run.
 */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import fc from 'fast-check';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster, converged, linkState, samePosition } from '../support/cluster.ts';
import { Connection, json } from '../support/contract.ts';

const SEED = Number(process.env.PSYNCD_SEED ?? Date.now() % 1_000_000);
const STEPS = 1_500;
const INT64 = 2n ** 63n;
const KEYS = ['a', 'b', 'p:1', 'p:2', 'p:ü', 'p/x', 'ä', '😀', ' ', 'n'];
const VALUES = [
  '',
  '0',
  '41',
  '-7',
  '9223372036854775807',
  'text',
  '{"a":{"b":1}}',
  '[1]',
  '\u0000\r\n',
  'é',
];
const BYTES = ['AP8=', '/w==', 'gA=='];

interface ModelEntry {
  readonly value: Buffer;
  readonly version: number;
  readonly expiresAt: number | null;
}

type Model = Map<string, ModelEntry>;

interface Op {
  readonly op: string;
  readonly key: string;
  readonly value?: unknown;
  readonly encoding?: string;
  readonly expiresAt?: number;
  readonly by?: number | string;
  readonly ifAbsent?: boolean;
  readonly ifVersion?: number;
}

/** What an operation leaves, or the code of the problem that it is refused with. */
type Outcome = string | { readonly value?: Buffer | null; readonly expiresAt?: number | null };

/** Values are drawn with this, from the seed alone. */
class Chance {
  readonly #values: Iterator<number>;

  constructor(seed: number) {
    const unit = fc.integer({ min: 0, max: 2 ** 30 });
    this.#values = fc.sample(unit, { seed, numRuns: 60_000 })[Symbol.iterator]();
  }

  below(limit: number): number {
    const { value, done } = this.#values.next();
    assert.ok(done !== true, 'the sequence draws more than was prepared');
    return Number(value) % limit;
  }

  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }

  percent(chance: number): boolean {
    return this.below(100) < chance;
  }
}

/** What `op` does to `before`, by docs/http-api.md alone. */
function expected(op: Op, before: ModelEntry | undefined): Outcome {
  if (op.ifAbsent === true && before !== undefined) return 'PRECONDITION_FAILED';
  if (op.ifVersion !== undefined && before?.version !== op.ifVersion) return 'PRECONDITION_FAILED';
  switch (op.op) {
    case 'set':
      return { value: bytesOf(op), expiresAt: op.expiresAt ?? null };
    case 'append':
      return { value: Buffer.concat([before?.value ?? Buffer.alloc(0), bytesOf(op)]) };
    case 'increment': {
      const text = before?.value.toString('latin1') ?? '0';
      if (!/^(?:0|-?[1-9]\d*)$/.test(text) || BigInt.asIntN(64, BigInt(text)) !== BigInt(text)) {
        return 'NOT_INTEGER';
      }
      const after = BigInt(text) + BigInt(op.by ?? 1);
      return after >= INT64 || after < -INT64 ? 'INTEGER_OVERFLOW' : { value: Buffer.from(String(after)) };
    }
    case 'expire':
      return { expiresAt: op.expiresAt ?? null };
    case 'persist':
      return { expiresAt: null };
    case 'delete':
      return { value: null };
    default:
      return {};
  }
}

function bytesOf({ value, encoding }: Op): Buffer {
  if (encoding === 'json') return Buffer.from(JSON.stringify(value));
  return Buffer.from(String(value), encoding === 'base64' ? 'base64' : 'utf8');
}

/** @param version of the entry in the answer, when it was set anew */
function applied(model: Model, { op, key }: Op, outcome: Outcome, version: unknown): void {
  const before = model.get(key);
  if (typeof outcome === 'string' || op === 'get') return;
  if (outcome.value === null) model.delete(key);
  else if (outcome.value !== undefined) {
    assert.ok(typeof version === 'number' && version > (before?.version ?? 0), `version ${version}`);
    const expiresAt = outcome.expiresAt === undefined ? (before?.expiresAt ?? null) : outcome.expiresAt;
    model.set(key, { value: outcome.value, version, expiresAt });
  } else if (before !== undefined) model.set(key, { ...before, expiresAt: outcome.expiresAt ?? null });
}

class Run {
  readonly #chance: Chance;
  readonly #http: Connection;
  readonly #trace: string[] = [];
  /** Keys that were set to expire soon; nothing else is done to them. */
  readonly #soon: { readonly key: string; readonly expiresAt: number }[] = [];
  model: Model = new Map();

  constructor(seed: number, http: Connection) {
    this.#chance = new Chance(seed);
    this.#http = http;
  }

  get trace(): string {
    return this.#trace.slice(-5).join('\n');
  }

  get soon(): readonly { readonly key: string; readonly expiresAt: number }[] {
    return this.#soon;
  }

  async step(): Promise<void> {
    const draw = this.#chance.below(100);
    if (draw < 55) await this.#single(this.#operation());
    else if (draw < 75) await this.#batch();
    else if (draw < 82) await this.#patch();
    else if (draw < 88) await this.#import();
    else if (draw < 92) await this.#expiring();
    else if (draw < 96) await this.#deletePrefix();
    else if (draw < 97) await this.#flush();
    else await this.#page();
  }

  #operation(): Op {
    const chance = this.#chance;
    const op = chance.of(['set', 'set', 'set', 'append', 'increment', 'expire', 'persist', 'delete', 'get']);
    const key = chance.of(KEYS);
    const version = this.model.get(key)?.version;
    const condition =
      op === 'get' || chance.percent(70)
        ? {}
        : op === 'set' && chance.percent(50)
          ? { ifAbsent: true }
          : { ifVersion: chance.percent(70) ? (version ?? 1) : 1 };
    switch (op) {
      case 'set':
        return { op, key, ...this.#value(), ...(chance.percent(30) ? this.#far() : {}), ...condition };
      case 'append':
        return { op, key, ...this.#value(), ...condition };
      case 'increment':
        return {
          op,
          key,
          by: chance.of([1, -3, 0, '9223372036854775807', '-9223372036854775808']),
          ...condition,
        };
      case 'expire':
        return { op, key, ...this.#far(), ...condition };
      default:
        return { op, key, ...condition };
    }
  }

  #value(): { value: unknown; encoding?: string } {
    const draw = this.#chance.below(10);
    if (draw === 0) return { value: this.#chance.of(BYTES), encoding: 'base64' };
    if (draw === 1) return { value: this.#chance.of([{ a: [1] }, null, 7, 'x']), encoding: 'json' };
    return { value: this.#chance.of(VALUES) };
  }

  #far(): { expiresAt: number } {
    return { expiresAt: 4_000_000_000_000 + this.#chance.below(1_000) };
  }

  /** One operation by its own call. */
  async #single(op: Op): Promise<void> {
    const path = `/v1/keys/${encodeURIComponent(op.key)}`;
    const headers: Record<string, string> = {};
    if (op.ifAbsent === true) headers['if-none-match'] = '*';
    if (op.ifVersion !== undefined) headers['if-match'] = `"${op.ifVersion}"`;
    const before = this.model.get(op.key);
    const outcome = expected(op, before);
    this.#trace.push(JSON.stringify(op));
    // A PUT takes a ttl, not a time: what expires far in the future is set by a batch of one.
    if (op.op === 'set' && op.expiresAt !== undefined) return this.#send([op]);
    const answer = await {
      set: () => this.#http.send('PUT', path, bytesOf(op), headers),
      append: () => this.#http.send('POST', `${path}/append`, bytesOf(op), headers),
      increment: () => this.#http.sendJson('POST', `${path}/increment`, { by: op.by }, headers),
      expire: () => this.#http.sendJson('PUT', `${path}/expiry`, { expiresAt: op.expiresAt }, headers),
      persist: () => this.#http.send('DELETE', `${path}/expiry`, undefined, headers),
      delete: () => this.#http.send('DELETE', path, undefined, headers),
      get: () => this.#http.send('GET', path),
    }[op.op as 'set']();
    if (typeof outcome === 'string') {
      assert.equal(json(answer).code, outcome);
      if (answer.status === 412) assert.equal(json(answer).currentVersion, before?.version ?? null);
      return;
    }
    if (before === undefined && !['set', 'append', 'increment'].includes(op.op)) {
      assert.equal(answer.status, 404);
      return;
    }
    assert.equal(answer.status, op.op === 'set' && before === undefined ? 201 : 200);
    if (op.op === 'get') {
      assert.deepEqual(answer.body, before?.value);
      assert.equal(answer.headers.etag, `"${before?.version}"`);
      assert.equal(answer.headers['psync-expires-at'], before?.expiresAt?.toString());
      return;
    }
    applied(this.model, op, outcome, json(answer).version);
  }

  #batch(): Promise<void> {
    const ops = Array.from({ length: this.#chance.below(8) }, () => this.#operation());
    this.#trace.push(JSON.stringify(ops));
    return this.#send(ops);
  }

  async #send(ops: readonly Op[]): Promise<void> {
    const answer = await this.#http.sendJson('POST', '/v1/batch', { ops });
    const body = json(answer);
    const results = body.results as { version?: number }[] | undefined;
    const next: Model = new Map(this.model);
    for (const [index, op] of ops.entries()) {
      const outcome = expected(op, next.get(op.key));
      if (typeof outcome === 'string') {
        // The versions of a batch that was not applied are not known, but only the first failing op counts.
        assert.deepEqual({ code: body.code, op: body.op }, { code: outcome, op: index });
        return;
      }
      if (results === undefined) {
        // It fails later on; a version that nobody has stands for the one that it would have got.
        applied(next, op, outcome, Number.MAX_SAFE_INTEGER - ops.length + index);
      } else applied(next, op, outcome, results[index]?.version);
    }
    assert.equal(answer.status, 200, JSON.stringify(body));
    this.model = next;
  }

  async #patch(): Promise<void> {
    const key = this.#chance.of(KEYS);
    const patch = this.#chance.of(['{"a":{"b":null,"c":2}}', '{"z":[]}', '7', '"t"', '{"a":null}', '[{}]']);
    this.#trace.push(`PATCH ${key} ${patch}`);
    const answer = await this.#http.send('PATCH', `/v1/keys/${encodeURIComponent(key)}`, patch, {
      'content-type': 'application/merge-patch+json',
    });
    const before = this.model.get(key);
    const target = before === undefined ? undefined : parsed(before.value);
    if (before === undefined || target === undefined) {
      assert.equal(answer.status, before === undefined ? 404 : 409);
      return;
    }
    const value = Buffer.from(JSON.stringify(merged(target, JSON.parse(patch))));
    this.model.set(key, { ...before, value, version: Number(json(answer).version) });
  }

  async #import(): Promise<void> {
    const ops = Array.from({ length: this.#chance.below(6) }, () => ({
      key: this.#chance.of(KEYS),
      ...this.#value(),
      ...(this.#chance.percent(30) ? this.#far() : this.#chance.percent(10) ? { expiresAt: 1 } : {}),
    }));
    this.#trace.push(`IMPORT ${JSON.stringify(ops)}`);
    const answer = await this.#http.send(
      'POST',
      '/v1/import',
      ops.map((op) => JSON.stringify(op)).join('\n'),
    );
    assert.equal(json(answer).imported, ops.length);
    // The answer tells no versions: they are read.
    const versions = await this.#versions();
    for (const op of ops) {
      if (op.expiresAt === 1) this.model.delete(op.key);
      else {
        const version = versions.get(op.key) ?? 0;
        this.model.set(op.key, {
          value: bytesOf({ op: 'set', ...op }),
          version,
          expiresAt: op.expiresAt ?? null,
        });
      }
    }
  }

  async #versions(): Promise<Map<string, number>> {
    const page = json(await this.#http.send('GET', '/v1/keys?limit=1000'));
    return new Map(
      (page.keys as { key: string; version: number }[]).map(({ key, version }) => [key, version]),
    );
  }

  /** An entry that expires soon, under a key of its own; it may have been there before. */
  async #expiring(): Promise<void> {
    const key = `soon:${this.#chance.below(5)}`;
    const ttl = this.#chance.of([0.001, 0.02, 0.1]);
    this.#trace.push(`SET ${key} ttl=${ttl}`);
    const answer = await this.#http.send('PUT', `/v1/keys/${key}?ttl=${ttl}`, 'v');
    this.#soon.push({ key, expiresAt: Number(json(answer).expiresAt) });
  }

  async #deletePrefix(): Promise<void> {
    const prefix = this.#chance.of(['p', 'p:', 'ä', 'none', 'p/x']);
    this.#trace.push(`DELETE ${prefix}*`);
    const answer = await this.#http.send('DELETE', `/v1/keys?prefix=${encodeURIComponent(prefix)}`);
    const keys = [...this.model.keys()].filter((key) => key.startsWith(prefix));
    assert.equal(json(answer).deleted, keys.length);
    for (const key of keys) this.model.delete(key);
  }

  async #flush(): Promise<void> {
    this.#trace.push('FLUSHALL');
    await this.#http.send('DELETE', '/v1/keys?all=true');
    this.model.clear();
  }

  async #page(): Promise<void> {
    this.#trace.push('LIST');
    const page = json(await this.#http.send('GET', '/v1/keys?limit=1000'));
    const keys = (page.keys as { key: string }[])
      .map(({ key }) => key)
      .filter((key) => !key.startsWith('soon:'));
    assert.deepEqual(new Set(keys), new Set(this.model.keys()));
  }
}

function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)) as unknown;
  } catch {
    return undefined;
  }
}

/** RFC 7396's pseudocode. */
function merged(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
  const result: Record<string, unknown> =
    typeof target === 'object' && target !== null && !Array.isArray(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name];
    else result[name] = merged(result[name], value);
  }
  return result;
}

/** Key, value, version and expiry of all entries, as one comparable value. */
async function entriesOf(node: ChildNode): Promise<unknown> {
  const text = await (await fetch(`${node.url}/v1/export`)).text();
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

function entriesOfModel(model: Model): unknown {
  return [...model]
    .sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .map(([key, { value, version, expiresAt }]) => {
      const text = value.toString('utf8');
      const isText = Buffer.from(text).equals(value);
      return {
        key,
        value: isText ? text : value.toString('base64'),
        encoding: isText ? 'utf8' : 'base64',
        version,
        expiresAt,
      };
    });
}

async function play(t: TestContext, seed: number): Promise<void> {
  const cluster = await Cluster.create(t);
  // SQLite takes the writes over while they come, so that every operation meets both.
  let master = await cluster.start('master', '--apply-interval', '20ms');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl, '--apply-interval', '30ms');
  await linkState(replica, 'streaming');
  const run = new Run(seed, new Connection(t, master));
  try {
    for (let step = 0; step < STEPS; step += 1) await run.step();
  } catch (error) {
    throw new Error(`with PSYNCD_SEED=${seed}, after\n${run.trace}`, { cause: error });
  }
  const last = Math.max(0, ...run.soon.map(({ expiresAt }) => expiresAt));
  await until('everything that expires soon is deleted', async () => {
    const { keys } = await master.client.digest();
    return Date.now() > last && keys === run.model.size;
  });
  const wanted = entriesOfModel(run.model);
  assert.deepEqual(await entriesOf(master), wanted, `PSYNCD_SEED=${seed}: the master`);
  await samePosition(master, replica);
  const before = await converged(master, replica);
  assert.deepEqual(await entriesOf(replica), wanted, `PSYNCD_SEED=${seed}: the replica`);
  await master.stop('SIGKILL');
  master = await cluster.restart('master', master);
  assert.deepEqual(await entriesOf(master), wanted, `PSYNCD_SEED=${seed}: the master after a restart`);
  assert.deepEqual(await master.client.digest(), before);
}

test(`after ${STEPS} random operations each node holds the same entries as a Map`, async (t) => {
  t.diagnostic(`PSYNCD_SEED=${SEED}`);
  await play(t, SEED);
});
