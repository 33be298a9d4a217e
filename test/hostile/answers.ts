/** Reads the answers of one connection from its bytes, as strictly as HTTP/1.1 is written. */

export interface RawAnswer {
  readonly status: number;
  /** Names in small letters; several fields of one name are joined. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** The server said that no request will be read behind this answer. */
  readonly isLast: boolean;
}

const HEADERS_END = Buffer.from('\r\n\r\n');
const LINE_END = Buffer.from('\r\n');
const STATUS_LINE = /^HTTP\/1\.1 (\d{3})(?: [\t -~\u0080-\u00ff]*)?$/;
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\u0080-\u00ff]*)$/;

/**
 * @param bytes everything that came on the connection
 * @param methods of the requests, in the order in which they were sent: an answer to HEAD has no body
 * @param hasEnded the server has closed the connection
 * @returns the answers that are complete
 * @throws Error when the bytes are no sequence of HTTP/1.1 answers
 */
export function readAnswers(bytes: Buffer, methods: readonly string[], hasEnded: boolean): RawAnswer[] {
  const answers: RawAnswer[] = [];
  let at = 0;
  while (at < bytes.length) {
    const end = bytes.indexOf(HEADERS_END, at);
    if (end === -1) break;
    const [statusLine = '', ...fields] = bytes.toString('latin1', at, end).split('\r\n');
    const status = Number(STATUS_LINE.exec(statusLine)?.[1]);
    if (Number.isNaN(status)) throw new Error(`no status line: ${JSON.stringify(statusLine.slice(0, 80))}`);
    const headers = readFields(fields);
    const start = end + HEADERS_END.length;
    if (status < 200 && status !== 101) {
      at = start;
      continue;
    }
    const body = readBody(bytes, start, status, headers, methods[answers.length], hasEnded);
    if (body === null) break;
    answers.push({ status, headers, body: body.bytes, isLast: /\bclose\b/i.test(headers.connection ?? '') });
    at = body.end;
    if (status === 101) break;
  }
  return answers;
}

function readFields(lines: readonly string[]): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const [, name, value] = FIELD.exec(line) ?? [];
    if (name === undefined || value === undefined)
      throw new Error(`no header field: ${JSON.stringify(line)}`);
    const key = name.toLowerCase();
    headers[key] = Object.hasOwn(headers, key) ? `${headers[key]}, ${value}` : value;
  }
  return headers;
}

function readBody(
  bytes: Buffer,
  start: number,
  status: number,
  headers: Readonly<Record<string, string>>,
  method: string | undefined,
  hasEnded: boolean,
): { readonly bytes: Buffer; readonly end: number } | null {
  if (method === 'HEAD' || status === 204 || status === 304 || status === 101) {
    return { bytes: Buffer.alloc(0), end: start };
  }
  if (headers['transfer-encoding'] === 'chunked') return readChunks(bytes, start);
  const length = headers['content-length'];
  if (length === undefined) return hasEnded ? { bytes: bytes.subarray(start), end: bytes.length } : null;
  if (!/^\d+$/.test(length)) throw new Error(`Content-Length: ${length}`);
  const end = start + Number(length);
  return end <= bytes.length ? { bytes: bytes.subarray(start, end), end } : null;
}

function readChunks(bytes: Buffer, start: number): { readonly bytes: Buffer; readonly end: number } | null {
  const chunks: Buffer[] = [];
  let at = start;
  for (;;) {
    const lineEnd = bytes.indexOf(LINE_END, at);
    if (lineEnd === -1) return null;
    const line = bytes.toString('latin1', at, lineEnd);
    if (!/^[0-9a-f]+$/i.test(line)) throw new Error(`no chunk size: ${JSON.stringify(line.slice(0, 40))}`);
    const size = Number.parseInt(line, 16);
    const from = lineEnd + LINE_END.length;
    const end = from + size + LINE_END.length;
    if (end > bytes.length) return null;
    if (bytes.toString('latin1', from + size, end) !== '\r\n') throw new Error('a chunk has another length');
    if (size === 0) return { bytes: Buffer.concat(chunks), end };
    chunks.push(bytes.subarray(from, from + size));
    at = end;
  }
}
