/** A bucket of object storage that speaks the protocol of S3, as a target. */
import { open as openFile, rm } from 'node:fs/promises';
import {
  type BackupTarget,
  type GetCall,
  type RoomCheck,
  type TargetCall,
  TargetError,
  type TargetObject,
  type TargetSource,
} from '../../node/ports/backup-target.ts';
import { messageOf } from '../../node/ports/failures.ts';
import { checkFolder, checkLength, checkName, isTargetName } from '../names.ts';
import { sourceOfBytes, sourceOfFile } from './body.ts';
import { type Patience, S3Client } from './client.ts';
import { download } from './download.ts';
import type { Place } from './place.ts';
import { giveUp, nothing, unexpected, upload } from './upload.ts';
import { allIn, type Element, readXml, textIn } from './xml.ts';

export { PATIENCE } from './client.ts';

/** Objects of one page of a list: a page is read within one turn of the event loop. */
const PAGE_OBJECTS = 250;
/** Most pages of one list. A target that never says that it is at its end is none. */
const MAX_PAGES = 100_000;
const OWNER_ONLY_FILE = 0o600;

export class S3Target implements BackupTarget {
  readonly shown: string;
  readonly #client: S3Client;
  readonly #prefix: string;
  readonly #room: RoomCheck | null;

  /** @param room is asked before an object gets a file */
  constructor(place: Place, patience: Patience, room: RoomCheck | null = null) {
    this.#room = room;
    this.shown = place.shown;
    this.#prefix = place.prefix;
    this.#client = new S3Client(place, patience);
  }

  async put(name: string, source: TargetSource, { signal }: TargetCall = {}): Promise<void> {
    checkName(name);
    signal?.throwIfAborted();
    const key = this.#prefix + name;
    if ('bytes' in source) return upload(this.#client, key, sourceOfBytes(source.bytes), signal);
    const { path } = source;
    const file = await openFile(path, 'r').catch((error: unknown) => {
      throw new TargetError('NOT_FOUND', `cannot read ${path}: ${messageOf(error)}`, error);
    });
    try {
      await upload(this.#client, key, sourceOfFile(path, file, (await file.stat()).size), signal);
    } finally {
      await file.close();
    }
  }

  async get(name: string, path: string, { most, signal }: GetCall = {}): Promise<void> {
    checkName(name);
    signal?.throwIfAborted();
    const file = await openFile(path, 'wx', OWNER_ONLY_FILE);
    try {
      const accept = async (length: number): Promise<void> => {
        checkLength(`${this.shown}: ${name}`, length, most);
        await this.#room?.(path, length);
      };
      await download(this.#client, this.#prefix + name, file, accept, signal);
      await file.sync();
    } catch (error) {
      await rm(path, { force: true }).catch(() => undefined);
      throw error;
    } finally {
      await file.close();
    }
  }

  async begin(name: string, length: number, { signal }: TargetCall = {}): Promise<Uint8Array> {
    checkName(name);
    const headers = { range: `bytes=0-${length - 1}` };
    const asked = { method: 'GET', key: this.#prefix + name, headers, signal } as const;
    return this.#client.ask(asked, async (answer) => {
      if (answer.header('etag') === '') throw unexpected(this.#client, 'give an object');
      const parts: Uint8Array[] = [];
      let received = 0;
      // A server that knows no ranges sends all; the rest is not read.
      for await (const part of answer.body) {
        parts.push(part);
        received += part.length;
        if (received >= length) break;
      }
      return Buffer.concat(parts).subarray(0, length);
    });
  }

  async *list(folder: string, { signal }: TargetCall = {}): AsyncGenerator<TargetObject> {
    checkFolder(folder);
    const query = { 'list-type': '2', 'max-keys': String(PAGE_OBJECTS), ...this.#prefixOf(folder) };
    const nextOf = (page: Element): Readonly<Record<string, string>> | null =>
      textIn(page, 'IsTruncated') === 'true'
        ? { 'continuation-token': textIn(page, 'NextContinuationToken') }
        : null;
    for await (const page of this.#pages('ListBucketResult', query, nextOf, signal)) {
      for (const each of allIn(page, 'Contents')) {
        const object = this.#objectIn(each, folder);
        if (object !== null) yield object;
      }
    }
  }

  async find(name: string, { signal }: TargetCall = {}): Promise<TargetObject | null> {
    checkName(name);
    // Of all keys that begin so, this one is the first in the order of a list.
    const query = { 'list-type': '2', 'max-keys': '1', 'encoding-type': 'url', prefix: this.#prefix + name };
    for await (const page of this.#pages('ListBucketResult', query, () => null, signal)) {
      for (const each of allIn(page, 'Contents')) {
        const object = this.#objectIn(each, '');
        if (object?.name === name) return object;
      }
    }
    return null;
  }

  /** @returns null: the object is not in the folder, or its name is none @throws TargetError */
  #objectIn(contents: Element, folder: string): TargetObject | null {
    const name = this.#nameOf(textIn(contents, 'Key'), folder);
    const size = textIn(contents, 'Size');
    const modified = Date.parse(textIn(contents, 'LastModified'));
    if (name === null) return null;
    if (!/^\d{1,15}$/.test(size) || Number.isNaN(modified)) throw unexpected(this.#client, 'list objects');
    return { name, size: Number(size), modified };
  }

  async delete(name: string, { signal }: TargetCall = {}): Promise<void> {
    checkName(name);
    await this.#client
      .ask({ method: 'DELETE', key: this.#prefix + name, signal }, nothing)
      .catch((error: unknown) => {
        if (!(error instanceof TargetError) || error.code !== 'NOT_FOUND') throw error;
      });
  }

  async clean(
    before: number,
    isOurs: (name: string) => boolean,
    { signal }: TargetCall = {},
  ): Promise<number> {
    let removed = 0;
    const query = { uploads: '', 'max-uploads': String(PAGE_OBJECTS), ...this.#prefixOf('') };
    const nextOf = (page: Element): Readonly<Record<string, string>> | null =>
      textIn(page, 'IsTruncated') === 'true'
        ? {
            'key-marker': decoded(textIn(page, 'NextKeyMarker')) ?? '',
            'upload-id-marker': textIn(page, 'NextUploadIdMarker'),
          }
        : null;
    for await (const page of this.#pages('ListMultipartUploadsResult', query, nextOf, signal)) {
      for (const each of allIn(page, 'Upload')) {
        const name = this.#nameOf(textIn(each, 'Key'), '');
        const id = textIn(each, 'UploadId');
        // An unknown time is not earlier.
        if (name === null || !isOurs(name) || id === '' || !(Date.parse(textIn(each, 'Initiated')) < before))
          continue;
        await giveUp(this.#client, this.#prefix + name, id, signal);
        signal?.throwIfAborted();
        removed += 1;
      }
    }
    return removed;
  }

  #prefixOf(folder: string): Readonly<Record<string, string>> {
    const prefix = this.#prefix + (folder === '' ? '' : `${folder}/`);
    return { 'encoding-type': 'url', ...(prefix !== '' && { prefix }) };
  }

  async *#pages(
    root: string,
    query: Readonly<Record<string, string>>,
    nextOf: (page: Element) => Readonly<Record<string, string>> | null,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Element> {
    let next: Readonly<Record<string, string>> = {};
    for (let pages = 0; pages < MAX_PAGES; pages += 1) {
      const asked = { method: 'GET', key: '', query: { ...query, ...next }, signal } as const;
      const page = await this.#client.ask(asked, async (answer) => {
        const found = readXml(await answer.text());
        if (found?.name !== root) throw unexpected(this.#client, 'list objects');
        return found;
      });
      yield page;
      const following = nextOf(page);
      if (following === null) return;
      // A target that gives the same page again and again would never end.
      if (
        Object.values(following).join() === Object.values(next).join() ||
        Object.values(following).join('') === ''
      ) {
        throw unexpected(this.#client, 'list objects');
      }
      next = following;
    }
    throw unexpected(this.#client, 'list objects');
  }

  /** @returns the name in a key of a list; null: the object is not in the folder, or its name is none */
  #nameOf(text: string, folder: string): string | null {
    const key = decoded(text);
    if (key === null || !key.startsWith(this.#prefix)) return null;
    const name = key.slice(this.#prefix.length);
    return isTargetName(name) && (folder === '' || name.startsWith(`${folder}/`)) ? name : null;
  }
}

/** Decodes a key of a list that was asked for with `encoding-type=url`. @returns null: it is wrong */
function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return null;
  }
}
