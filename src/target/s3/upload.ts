/** Puts one object: in one request, or in parts, of which nothing is seen before all are there. */
import { TargetError } from '../../node/ports/backup-target.ts';
import { bodyOf, type Source } from './body.ts';
import type { Answer, S3Client } from './client.ts';
import { refused } from './refusals.ts';
import { escapeXml, readXml, textIn } from './xml.ts';

/** Least length of a part, and of an object that is sent in parts, in bytes. S3 wants 5 MiB. */
export const LEAST_PART_BYTES = 8 * 1024 * 1024;
/** Most parts of an object, by S3. */
const MAX_PARTS = 10_000;
const MIB = 1024 * 1024;
/** Most characters of the ID of an upload. */
const MAX_ID = 2_048;
/** Printable, and without a line break. */
const ETAG = /^[ -~]{1,256}$/;
/** Time in which an upload is given up when the caller does not wait, in milliseconds. What is left of it then goes by `clean`. */
const LAST_CALL_MS = 1_000;

/** @param key with the prefix @throws TargetError, or the signal's reason */
export async function upload(
  client: S3Client,
  key: string,
  source: Source,
  signal?: AbortSignal,
): Promise<void> {
  if (source.length < LEAST_PART_BYTES) {
    const body = await source.body(0, source.length);
    await client.ask({ method: 'PUT', key, body, signal }, async (answer) => etagOf(client, answer));
    return;
  }
  const uploadId = await begin(client, key, signal);
  try {
    const etags = await sendParts(client, key, source, uploadId, signal);
    await complete(client, key, source.length, uploadId, etags, signal);
  } catch (error) {
    await giveUp(client, key, uploadId, signal);
    throw error;
  }
}

async function begin(client: S3Client, key: string, signal?: AbortSignal): Promise<string> {
  return client.ask({ method: 'POST', key, query: { uploads: '' }, signal }, async (answer) => {
    const root = readXml(await answer.text());
    const id = root?.name === 'InitiateMultipartUploadResult' ? textIn(root, 'UploadId') : '';
    if (id === '' || id.length > MAX_ID) throw unexpected(client, 'begin an upload');
    return id;
  });
}

async function sendParts(
  client: S3Client,
  key: string,
  source: Source,
  uploadId: string,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const partBytes = Math.max(LEAST_PART_BYTES, Math.ceil(source.length / MAX_PARTS / MIB) * MIB);
  const etags: string[] = [];
  for (let start = 0; start < source.length; start += partBytes) {
    const body = await source.body(start, Math.min(partBytes, source.length - start));
    const query = { partNumber: String(etags.length + 1), uploadId };
    etags.push(
      await client.ask({ method: 'PUT', key, query, body, signal }, async (answer) => etagOf(client, answer)),
    );
  }
  return etags;
}

/** Puts the parts together. The answer has status 200 also when that fails. */
async function complete(
  client: S3Client,
  key: string,
  length: number,
  uploadId: string,
  etags: readonly string[],
  signal?: AbortSignal,
): Promise<void> {
  const parts = etags.map(
    (etag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${escapeXml(etag)}</ETag></Part>`,
  );
  const text = `<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${parts.join('')}</CompleteMultipartUpload>`;
  const body = bodyOf(Buffer.from(text));
  let tries = 0;
  try {
    await client.ask(
      { method: 'POST', key, query: { uploadId }, body, signal },
      async (answer) => {
        const said = await answer.text();
        const root = readXml(said);
        if (root?.name === 'CompleteMultipartUploadResult') return;
        if (root?.name !== 'Error') throw unexpected(client, 'finish an upload');
        throw refused(client.place, { status: 500, date: null, text: said }, '');
      },
      () => {
        tries += 1;
      },
    );
  } catch (error) {
    // The answer to an earlier try was lost: the object is there, and the upload is not.
    if (tries > 1 && error instanceof TargetError && (await sizeOf(client, key, signal)) === length) return;
    throw error;
  }
}

/** @returns null: there is no such object, or nobody says */
async function sizeOf(client: S3Client, key: string, signal?: AbortSignal): Promise<number | null> {
  try {
    return await client.ask(
      { method: 'GET', key, headers: { range: 'bytes=0-0' }, signal },
      async (answer) => {
        const total = /^bytes 0-0\/(\d{1,15})$/.exec(answer.header('content-range'))?.[1];
        return total === undefined ? null : Number(total);
      },
    );
  } catch {
    signal?.throwIfAborted();
    return null;
  }
}

/** Removes the parts, as far as the target is there. */
export async function giveUp(
  client: S3Client,
  key: string,
  uploadId: string,
  signal?: AbortSignal,
): Promise<void> {
  const asked = { method: 'DELETE', key, query: { uploadId } } as const;
  // The reason may be that this process ends: one try, and not for long.
  const work = signal?.aborted
    ? client.once({ ...asked, signal: AbortSignal.timeout(LAST_CALL_MS) }, nothing)
    : client.ask(signal === undefined ? asked : { ...asked, signal }, nothing);
  await work.catch(() => undefined);
}

/** Needs nothing of the answer. */
export async function nothing(): Promise<void> {}

/** Any page of a proxy has status 200 too. @returns what S3 names the bytes by */
function etagOf(client: S3Client, answer: Answer): string {
  const etag = answer.header('etag');
  if (!ETAG.test(etag)) throw unexpected(client, 'take an object');
  return etag;
}

/** @param what S3 should do */
export function unexpected(client: S3Client, what: string): TargetError {
  return new TargetError(
    'TARGET_ANSWER',
    `${client.place.shown} does not answer as S3 does when it should ${what}; is S3_ENDPOINT right?`,
  );
}
