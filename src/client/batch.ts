/** What `Client.batch` takes and gives: the operations of `POST /v1/batch`, and one result for each. */

/** Text, or as `encoding` says: base64 of any bytes, or any JSON. */
type Sent =
  | { readonly value: string; readonly encoding?: 'utf8' | 'base64' }
  | { readonly value: unknown; readonly encoding: 'json' };
/** `ttl` in seconds, or `expiresAt` in milliseconds since 1970. */
type Expiring =
  | { readonly ttl: number; readonly expiresAt?: undefined }
  | { readonly expiresAt: number; readonly ttl?: undefined };
type Never = { readonly ttl?: undefined; readonly expiresAt?: undefined };
type IfVersion = { readonly ifVersion?: number };
type IfAbsent = { readonly ifAbsent: true; readonly ifVersion?: undefined };

export type BatchOperation = { readonly key: string } & (
  | ({ readonly op: 'set' } & Sent & (Expiring | Never) & (IfVersion | IfAbsent))
  | ({ readonly op: 'append' } & Sent & IfVersion)
  | ({ readonly op: 'increment'; readonly by?: number | string } & IfVersion)
  | ({ readonly op: 'expire' } & Expiring & IfVersion)
  | ({ readonly op: 'delete' | 'persist' } & IfVersion)
  | { readonly op: 'get' }
);

/** Which members there are depends on the operation. */
export interface BatchResult {
  readonly version?: number;
  readonly expiresAt?: number | null;
  /** `set`: the key was not there before. */
  readonly created?: boolean;
  /** `delete`: the key was there. */
  readonly deleted?: boolean;
  /** `expire`, `persist`, `get`: the key is there. */
  readonly found?: boolean;
  /** `append`: of the value, in bytes. */
  readonly size?: number;
  /** `increment`: the new value. `get`: the value, as `encoding` says. */
  readonly value?: number | string;
  readonly encoding?: 'utf8' | 'base64';
}

export interface BatchAnswer {
  /** One for each operation, in order. */
  readonly results: readonly BatchResult[];
  readonly position: string;
}
