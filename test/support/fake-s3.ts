/**
 * A small S3 in memory: one bucket, path style. It checks the signature of each request by itself, knows uploads in parts, lists in
 * pages, and fails as a test wants.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';

export const BUCKET = 'backups';
export const ACCESS_KEY = 'AKIDEXAMPLE';
export const SECRET_KEY = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY';
const REGION = 'eu-test-1';
/** Most objects of one page. */
const PAGE = 1_000;
const MAX_SKEW_MS = 15 * 60_000;

/** A request as a test sees it. */
export interface Seen {
  readonly method: string;
  /** '': the bucket. */
  readonly key: string;
  readonly query: URLSearchParams;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

/** What goes wrong with a request. `status`: that answer; `cut-request`: the connection ends while the request is read;
 * `cut-answer`: it ends in the middle of the answer; `silent`: no answer comes; `lost-answer`: the request is carried out, and the connection ends. */
export type Fault =
  | { readonly status: number; readonly text?: string; readonly headers?: Readonly<Record<string, string>> }
  | 'cut-request'
  | 'cut-answer'
  | 'silent'
  | 'lost-answer';

interface Stored {
  readonly bytes: Buffer;
  readonly etag: string;
  readonly modified: Date;
}

interface Upload {
  readonly key: string;
  readonly begun: Date;
  readonly parts: Map<number, Stored>;
}

export class FakeS3 {
  readonly objects = new Map<string, Stored>();
  readonly uploads = new Map<string, Upload>();
  readonly seen: Seen[] = [];
  /** Decides for each request whether it fails. */
  fault: (seen: Seen) => Fault | null = () => null;
  /** Added to the clock of the server, in milliseconds. */
  skewMs = 0;
  sessionToken: string | null = null;
  /** Number of connections so far. */
  connections = 0;
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch(() => response.destroy());
    });
  }

  static async start(t: TestContext): Promise<FakeS3> {
    const fake = new FakeS3();
    fake.#server.on('connection', () => {
      fake.connections += 1;
    });
    await new Promise<void>((resolve) => fake.#server.listen(0, '127.0.0.1', resolve));
    t.after(async () => {
      fake.#server.closeAllConnections();
      await new Promise((resolve) => fake.#server.close(resolve));
    });
    return fake;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** The environment of a program that may use the bucket. */
  get env(): Record<string, string> {
    return {
      S3_ENDPOINT: this.url,
      AWS_ACCESS_KEY_ID: ACCESS_KEY,
      AWS_SECRET_ACCESS_KEY: SECRET_KEY,
      AWS_REGION: REGION,
      ...(this.sessionToken !== null && { AWS_SESSION_TOKEN: this.sessionToken }),
    };
  }

  /** Puts an object without a request. */
  store(key: string, bytes: Buffer, modified = new Date()): void {
    this.objects.set(key, stored(bytes, modified));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', this.url);
    const [, bucket, ...rest] = url.pathname.split('/').map(decodeURIComponent);
    const seen: Seen = {
      method: request.method ?? '',
      key: rest.join('/'),
      query: url.searchParams,
      headers: request.headers,
    };
    this.seen.push(seen);
    const fault = this.fault(seen);
    if (fault === 'silent') return;
    if (fault === 'cut-request') {
      request.once('data', () => request.socket.destroy());
      return;
    }
    const body = await bytesOf(request);
    if (typeof fault === 'object' && fault !== null) {
      response.writeHead(fault.status, fault.headers).end(fault.text ?? '');
      return;
    }
    const answer = this.#refusal(request, url, body) ?? this.#done(seen, bucket ?? '', body);
    if (fault === 'lost-answer') {
      request.socket.destroy();
      return;
    }
    response.writeHead(answer.status, {
      date: new Date(Date.now() + this.skewMs).toUTCString(),
      'content-length': String(answer.body.length),
      ...answer.headers,
    });
    if (fault !== 'cut-answer') response.end(answer.body);
    else response.write(answer.body.subarray(0, answer.body.length / 2), () => response.destroy());
  }

  #refusal(request: IncomingMessage, url: URL, body: Buffer): Answer | null {
    const sent = String(request.headers['x-amz-date'] ?? '');
    const time = Date.parse(sent.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));
    const now = Date.now() + this.skewMs;
    if (!(Math.abs(time - now) < MAX_SKEW_MS)) {
      const there = `<ServerTime>${new Date(now).toISOString()}</ServerTime>`;
      return error(403, 'RequestTimeTooSkewed', 'The difference between the times is too large.', there);
    }
    const [, accessKey, signedHeaders, signature] =
      /^AWS4-HMAC-SHA256 Credential=([^/]+)\/[^,]+, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/.exec(
        request.headers.authorization ?? '',
      ) ?? [];
    if (accessKey !== ACCESS_KEY) return error(403, 'InvalidAccessKeyId', 'The key does not exist.');
    if ((request.headers['x-amz-security-token'] ?? null) !== this.sessionToken) {
      return error(400, 'InvalidToken', 'The token is not valid.');
    }
    const expected = signatureOf(request, url, signedHeaders ?? '', sent);
    if (!timingSafeEqual(Buffer.from(signature ?? ''.padEnd(64)), Buffer.from(expected))) {
      return error(403, 'SignatureDoesNotMatch', 'The signature does not match.');
    }
    const sum = createHash('sha256').update(body).digest('hex');
    return request.headers['x-amz-content-sha256'] === sum
      ? null
      : error(400, 'XAmzContentSHA256Mismatch', 'The bytes are not those that were signed.');
  }

  #done(seen: Seen, bucket: string, body: Buffer): Answer {
    const { method, key, query, headers } = seen;
    if (bucket !== BUCKET) return error(404, 'NoSuchBucket', 'The bucket does not exist.');
    const uploadId = query.get('uploadId');
    if (method === 'GET' && key === '') {
      return query.has('uploads') ? this.#listUploads(query) : this.#list(query);
    }
    if (method === 'GET') return this.#get(key, headers);
    if (method === 'POST' && query.has('uploads')) {
      const id = randomBytes(8).toString('base64');
      this.uploads.set(id, { key, begun: new Date(), parts: new Map() });
      return xml(`<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`);
    }
    if (uploadId !== null) return this.#ofUpload(method, uploadId, query, body);
    if (method === 'PUT') {
      this.store(key, body);
      return { status: 200, headers: { etag: this.objects.get(key)?.etag ?? '' }, body: Buffer.alloc(0) };
    }
    this.objects.delete(key);
    return { status: 204, headers: {}, body: Buffer.alloc(0) };
  }

  #ofUpload(method: string, id: string, query: URLSearchParams, body: Buffer): Answer {
    const upload = this.uploads.get(id);
    if (upload === undefined) return error(404, 'NoSuchUpload', 'The upload does not exist.');
    if (method === 'DELETE') {
      this.uploads.delete(id);
      return { status: 204, headers: {}, body: Buffer.alloc(0) };
    }
    if (method === 'PUT') {
      const part = stored(body, new Date());
      upload.parts.set(Number(query.get('partNumber')), part);
      return { status: 200, headers: { etag: part.etag }, body: Buffer.alloc(0) };
    }
    const wanted = [
      ...body.toString().matchAll(/<PartNumber>(\d+)<\/PartNumber><ETag>&#34;([0-9a-f]+)&#34;/g),
    ];
    const parts = wanted.map(([, number, etag]) => {
      const part = upload.parts.get(Number(number));
      return part?.etag === `"${etag}"` ? part.bytes : null;
    });
    if (parts.length === 0 || parts.includes(null)) return error(400, 'InvalidPart', 'A part was not found.');
    if (parts.slice(0, -1).some((part) => (part?.length ?? 0) < 5 * 1024 * 1024)) {
      return error(400, 'EntityTooSmall', 'A part is too small.');
    }
    this.uploads.delete(id);
    this.store(upload.key, Buffer.concat(parts as Buffer[]));
    return xml('<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>');
  }

  #get(key: string, headers: Seen['headers']): Answer {
    const found = this.objects.get(key);
    if (found === undefined) return error(404, 'NoSuchKey', 'The key does not exist.');
    if (headers['if-match'] !== undefined && headers['if-match'] !== found.etag) {
      return error(412, 'PreconditionFailed', 'The object is another one.');
    }
    const [, start, end] = /^bytes=(\d+)-(\d*)$/.exec(String(headers.range ?? '')) ?? [];
    if (start === undefined) return { status: 200, headers: { etag: found.etag }, body: found.bytes };
    const body = found.bytes.subarray(Number(start), end === '' ? undefined : Number(end) + 1);
    const range = `bytes ${start}-${Number(start) + body.length - 1}/${found.bytes.length}`;
    return { status: 206, headers: { etag: found.etag, 'content-range': range }, body };
  }

  #list(query: URLSearchParams): Answer {
    const after = query.get('continuation-token') ?? '';
    const most = Math.min(PAGE, Number(query.get('max-keys') ?? PAGE));
    const keys = [...this.objects.keys()]
      .filter((key) => key.startsWith(query.get('prefix') ?? '') && key > after)
      .sort();
    const page = keys.slice(0, most);
    const items = page.map((key) => {
      const { bytes, modified } = this.objects.get(key) as Stored;
      return `<Contents><Key>${encodeURIComponent(key)}</Key><LastModified>${modified.toISOString()}</LastModified><Size>${bytes.length}</Size></Contents>`;
    });
    const more = keys.length > page.length;
    const next = more ? `<NextContinuationToken>${page.at(-1)}</NextContinuationToken>` : '';
    return xml(
      `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${items.join('')}<IsTruncated>${more}</IsTruncated>${next}</ListBucketResult>`,
    );
  }

  #listUploads(query: URLSearchParams): Answer {
    const items = [...this.uploads]
      .filter(([, { key }]) => key.startsWith(query.get('prefix') ?? ''))
      .map(
        ([id, { key, begun }]) =>
          `<Upload><Key>${encodeURIComponent(key)}</Key><UploadId>${id}</UploadId><Initiated>${begun.toISOString()}</Initiated></Upload>`,
      );
    return xml(
      `<ListMultipartUploadsResult>${items.join('')}<IsTruncated>false</IsTruncated></ListMultipartUploadsResult>`,
    );
  }
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

function stored(bytes: Buffer, modified: Date): Stored {
  return { bytes, etag: `"${createHash('md5').update(bytes).digest('hex')}"`, modified };
}

function xml(text: string, status = 200): Answer {
  return {
    status,
    headers: { 'content-type': 'application/xml' },
    body: Buffer.from(`<?xml version="1.0" encoding="UTF-8"?>\n${text}`),
  };
}

function error(status: number, code: string, message: string, more = ''): Answer {
  return xml(`<Error><Code>${code}</Code><Message>${message}</Message>${more}</Error>`, status);
}

async function bytesOf(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

/** The signature by Amazon's description of version 4. */
function signatureOf(request: IncomingMessage, url: URL, signedHeaders: string, time: string): string {
  const headers = signedHeaders.split(';').map((name) => `${name}:${String(request.headers[name]).trim()}\n`);
  const query = [...url.searchParams]
    .map((pair) => pair.map(encoded).join('='))
    .sort()
    .join('&');
  const canonical = [
    request.method,
    url.pathname.split('/').map(decodeURIComponent).map(encoded).join('/'),
    query,
    headers.join(''),
    signedHeaders,
    request.headers['x-amz-content-sha256'],
  ].join('\n');
  const day = time.slice(0, 8);
  const scope = `${day}/${REGION}/s3/aws4_request`;
  const sum = createHash('sha256').update(canonical).digest('hex');
  const key = [day, REGION, 's3', 'aws4_request'].reduce<Buffer | string>(
    (secret, part) => createHmac('sha256', secret).update(part).digest(),
    `AWS4${SECRET_KEY}`,
  );
  return createHmac('sha256', key).update(`AWS4-HMAC-SHA256\n${time}\n${scope}\n${sum}`).digest('hex');
}

function encoded(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (found) => `%${found.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
