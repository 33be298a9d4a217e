/** Gets one object into a file. After a cut the download goes on where it was, if the object is still the same. */
import type { FileHandle } from 'node:fs/promises';
import { TargetError } from '../../node/ports/backup-target.ts';
import type { Answer, S3Client } from './client.ts';
import { unexpected } from './upload.ts';

/** What the first answer said. */
interface Object {
  readonly etag: string;
  readonly length: number;
}

/**
 * @param key with the prefix
 * @param file an empty one
 * @param accept hears the length before anything is written
 * @throws TargetError, the signal's reason, what `accept` throws, or an error of the file
 */
export async function download(
  client: S3Client,
  key: string,
  file: FileHandle,
  accept: (length: number) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  let object: Object | null = null;
  let received = 0;
  let before = 0;
  const work = async (): Promise<void> => {
    const headers = object === null ? {} : { range: `bytes=${received}-`, 'if-match': object.etag };
    await client.once({ method: 'GET', key, headers, signal }, async (answer) => {
      const isFirst = object === null;
      object = accepted(client, answer, object, received);
      if (isFirst) await accept(object.length);
      for await (const part of answer.body) {
        if (received + part.length > object.length) throw unexpected(client, 'give an object');
        await writeAll(file, part, received);
        received += part.length;
      }
      if (received < object.length) {
        throw new TargetError('TARGET_UNREACHABLE', `${client.place.shown} has cut the connection`);
      }
    });
  };
  const progressed = (): boolean => {
    const has = received > before;
    before = received;
    return has;
  };
  await client.tried(signal, work, progressed);
}

/** @param known of an earlier answer; null: there was none */
function accepted(client: S3Client, answer: Answer, known: Object | null, received: number): Object {
  const etag = answer.header('etag');
  if (known === null) {
    const length = answer.header('content-length');
    if (answer.status !== 200 || etag === '' || !/^\d{1,15}$/.test(length)) {
      throw unexpected(client, 'give an object');
    }
    return { etag, length: Number(length) };
  }
  const [, start, total] =
    /^bytes (\d{1,15})-\d{1,15}\/(\d{1,15})$/.exec(answer.header('content-range')) ?? [];
  const isRest = answer.status === 206 && Number(start) === received && Number(total) === known.length;
  if (!isRest || etag !== known.etag) throw unexpected(client, 'give the rest of an object');
  return known;
}

async function writeAll(file: FileHandle, part: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < part.length; ) {
    done += (await file.write(part, done, part.length - done, at + done)).bytesWritten;
  }
}
