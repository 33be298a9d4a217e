/** What a batch takes. */
/** Text, or as `encoding` says: base64 for any bytes, or any JSON. */
type Sent =
  | { readonly value: string; readonly encoding?: 'utf8' | 'base64' }
  | { readonly value: unknown; readonly encoding: 'json' };
/** `ttl` in seconds, or `expiresAt` in milliseconds since 1970. */
export type Expiring =
  | { readonly ttl: number; readonly expiresAt?: undefined }
  | { readonly expiresAt: number; readonly ttl?: undefined };
type Never = { readonly ttl?: undefined; readonly expiresAt?: undefined };
type IfVersion = { readonly ifVersion?: number };
type IfAbsent = { readonly ifAbsent: true; readonly ifVersion?: undefined };

/** One operation of a batch. */
export type BatchOperation = { readonly key: string } & (
  | ({ readonly op: 'set' } & Sent & (Expiring | Never) & (IfVersion | IfAbsent))
  | ({ readonly op: 'append' } & Sent & IfVersion)
  | ({ readonly op: 'increment'; readonly by?: number | string } & IfVersion)
  | ({ readonly op: 'expire' } & Expiring & IfVersion)
  | ({ readonly op: 'delete' | 'persist' } & IfVersion)
  | { readonly op: 'get' }
);
