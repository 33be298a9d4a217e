/** Parameters and results of `Client.batch`: the operations of `POST /v1/batch`, and one result for each. */

/** Text, or as `encoding` says: base64 for any bytes, or any JSON. */
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

/** Result of one operation; its members depend on the operation. */
export interface BatchResult {
  readonly version?: number;
  readonly expiresAt?: number | null;
  /** `set`: whether the key is new. */
  readonly created?: boolean;
  /** `delete`: whether the key existed. */
  readonly deleted?: boolean;
  /** `expire`, `persist`, `get`: whether the key exists. */
  readonly found?: boolean;
  /** `append`: size of the value in bytes. */
  readonly size?: number;
  /** `increment`: the new value. `get`: the value, as `encoding` says. */
  readonly value?: number | string;
  readonly encoding?: 'utf8' | 'base64';
}

export interface BatchAnswer {
  /** Result of each operation, in order. */
  readonly results: readonly BatchResult[];
  readonly position: string;
}
