/** What a generated client has to be able to do; an adapter in this folder says it in the client's own words. */

/** An answer as the client hands it out: `data` of a success, `problem` of an error. */
export interface Answer<T> {
  readonly status: number;
  readonly data: T | undefined;
  readonly problem: Problem | undefined;
  readonly headers: Headers;
}

export interface Problem {
  readonly code: string;
  readonly currentVersion?: number | null;
  readonly op?: number;
}

/** The headers of a condition, under the names that the document gives them. */
export type Conditions = Readonly<Partial<Record<'If-Match' | 'If-None-Match', string>>>;

export type Operation = { readonly key: string } & (
  | { readonly op: 'set'; readonly value: unknown; readonly encoding?: 'json' }
  | { readonly op: 'increment'; readonly by: number }
  | { readonly op: 'expire'; readonly ttl: number }
  | { readonly op: 'delete'; readonly ifVersion?: number }
  | { readonly op: 'persist' | 'get' }
);

export interface Sdk {
  set(key: string, value: Blob, conditions?: Conditions, ttl?: number): Promise<Answer<Written>>;
  /** @param as in which form the client is to give the bytes */
  get(key: string, as: 'arrayBuffer' | 'blob' | 'stream', conditions?: Conditions): Promise<Answer<Blob>>;
  getJson(key: string): Promise<Answer<unknown>>;
  head(key: string): Promise<Answer<unknown>>;
  delete(key: string, conditions?: Conditions): Promise<Answer<{ readonly deleted: true }>>;
  append(key: string, value: Blob): Promise<Answer<{ readonly size: number }>>;
  patch(key: string, patch: unknown): Promise<Answer<Written>>;
  increment(key: string, by: number | string): Promise<Answer<{ readonly value: number }>>;
  expire(key: string, ttl: number): Promise<Answer<{ readonly expiresAt: number | null }>>;
  persist(key: string): Promise<Answer<{ readonly expiresAt: number | null }>>;
  page(prefix: string, after: string | undefined, limit: number): Promise<Answer<Page>>;
  batch(ops: Operation[]): Promise<Answer<{ readonly results: readonly Result[] }>>;
  import(lines: string): Promise<Answer<{ readonly imported: number }>>;
  export(): Promise<Answer<string>>;
  info(): Promise<Answer<string>>;
  replication(): Promise<Answer<{ readonly role: 'master' | 'replica'; readonly position: string }>>;
}

export interface Written {
  readonly key: string;
  readonly version: number;
  readonly created: boolean;
  readonly expiresAt: number | null;
}

export interface Page {
  readonly keys: readonly {
    readonly key: string;
    readonly value?: string;
    readonly encoding?: 'utf8' | 'base64';
  }[];
  readonly next: string | null;
}

export interface Result {
  readonly found?: boolean;
  readonly value?: number | string;
}
