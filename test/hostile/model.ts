/** What the keys of one connection hold, and what each request on them must be answered with. */

export interface Expected {
  readonly status: number;
  /** Of a GET: the bytes. */
  readonly body?: Buffer;
  /** Members of the JSON answer. */
  readonly members?: Readonly<Record<string, unknown>>;
}

const INTEGER = /^-?(?:0|[1-9]\d*)$/;
const MAX_INTEGER = 2n ** 63n - 1n;

export type Operation =
  | {
      readonly kind: 'put' | 'append';
      readonly key: string;
      readonly value: Buffer;
      readonly ifAbsent?: boolean;
    }
  | { readonly kind: 'get' | 'head' | 'delete' | 'persist'; readonly key: string }
  | { readonly kind: 'increment'; readonly key: string; readonly by: number }
  | { readonly kind: 'patch'; readonly key: string; readonly patch: Readonly<Record<string, unknown>> }
  | {
      readonly kind: 'batch';
      readonly sets: ReadonlyMap<string, string>;
      readonly deletes: readonly string[];
    };

export class Model {
  readonly entries = new Map<string, Buffer>();

  /** Carries the operation out. @returns what the node must answer */
  apply(operation: Operation): Expected {
    switch (operation.kind) {
      case 'batch':
        for (const [key, value] of operation.sets) this.entries.set(key, Buffer.from(value));
        for (const key of operation.deletes) this.entries.delete(key);
        return { status: 200 };
      case 'put':
        return this.#put(operation.key, operation.value, operation.ifAbsent ?? false);
      case 'append': {
        const value = Buffer.concat([this.entries.get(operation.key) ?? Buffer.alloc(0), operation.value]);
        this.entries.set(operation.key, value);
        return { status: 200, members: { size: value.length } };
      }
      case 'increment':
        return this.#increment(operation.key, BigInt(operation.by));
      case 'patch':
        return this.#patch(operation.key, operation.patch);
      default:
        return this.#read(operation.kind, operation.key);
    }
  }

  #put(key: string, value: Buffer, ifAbsent: boolean): Expected {
    const existed = this.entries.has(key);
    if (existed && ifAbsent) return { status: 412 };
    this.entries.set(key, value);
    return { status: existed ? 200 : 201, members: { key, created: !existed } };
  }

  #read(kind: 'get' | 'head' | 'delete' | 'persist', key: string): Expected {
    const value = this.entries.get(key);
    if (value === undefined) return { status: 404 };
    if (kind === 'delete') this.entries.delete(key);
    if (kind === 'get') return { status: 200, body: value };
    return kind === 'delete' ? { status: 200, members: { key, deleted: true } } : { status: 200 };
  }

  #increment(key: string, by: bigint): Expected {
    const text = this.entries.get(key)?.toString('latin1') ?? '0';
    if (!INTEGER.test(text) || text === '-0') return { status: 409 };
    const before = BigInt(text);
    const value = before + by;
    if (before > MAX_INTEGER || value > MAX_INTEGER || value < -MAX_INTEGER - 1n) return { status: 409 };
    this.entries.set(key, Buffer.from(String(value)));
    return { status: 200 };
  }

  #patch(key: string, patch: Readonly<Record<string, unknown>>): Expected {
    const value = this.entries.get(key);
    if (value === undefined) return { status: 404 };
    let before: unknown;
    try {
      before = JSON.parse(value.toString('utf8'));
    } catch {
      return { status: 409 };
    }
    const isObject = typeof before === 'object' && before !== null && !Array.isArray(before);
    const members = new Map(isObject ? Object.entries(before as object) : []);
    for (const [name, member] of Object.entries(patch)) {
      if (member === null) members.delete(name);
      else members.set(name, member);
    }
    this.entries.set(
      key,
      Buffer.from(
        `{${[...members].map(([name, member]) => `${JSON.stringify(name)}:${JSON.stringify(member)}`).join(',')}}`,
      ),
    );
    return { status: 200 };
  }
}
