/**
 * Looks at the pages of a database file without SQLite, which trusts them more than a stranger's file deserves: b-trees whose
 * pages refer to one page many times over keep it busy for ever, and cells that claim gigabytes take its memory. In a file
 * that passes, each page is in one place only (a b-tree, a chain of overflow pages, or the list of free pages), and each
 * row is as long as its pages are. So whatever SQLite does with it afterwards ends in the time that its size takes.
 *
 * The format: https://www.sqlite.org/fileformat2.html
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { damage } from './entry-checksum.ts';

/** The table of tables, SQLite's `sqlite_schema`, begins in the first page. */
const SCHEMA_ROOT = 1;
/** So many pages it may have, and so many bytes each of its rows: ours has two pages, and 400 bytes at most. */
const SCHEMA_PAGES = 16;
const SCHEMA_ROW_BYTES = 16 * 1024;
const MAGIC = 'SQLite format 3\0';
const FILE_HEADER_BYTES = 100;
/** As deep as SQLite goes. */
const MAX_DEPTH = 20;
/** SQLite locks bytes of the page that has this byte: it is never used. */
const LOCK_BYTE = 2 ** 30;
const INNER_INDEX = 2;
const INNER_TABLE = 5;
const LEAF_INDEX = 10;
const LEAF_TABLE = 13;

interface WalkLimits {
  readonly pages: number;
  readonly rowBytes: number;
}
const UNLIMITED: WalkLimits = { pages: Number.POSITIVE_INFINITY, rowBytes: Number.POSITIVE_INFINITY };

export class PageWalk {
  readonly #file: number;
  readonly #pageSize: number;
  readonly #total: number;
  readonly #header = Buffer.alloc(FILE_HEADER_BYTES);
  readonly #page: Buffer;
  readonly #link = Buffer.alloc(4);
  #seen: Uint8Array;
  #unseen = 0;

  /**
   * Opens a file that nobody else has open: `close` drops all locks of the process on it.
   * @throws Error with SQLite's code for damage if it has no header of a database, or another length than that says
   */
  constructor(path: string) {
    this.#file = openSync(path, 'r');
    try {
      readSync(this.#file, this.#header, 0, FILE_HEADER_BYTES, 0);
      if (this.#header.toString('latin1', 0, MAGIC.length) !== MAGIC) throw damage('it is not a database');
      const size = this.#header.readUInt16BE(16);
      this.#pageSize = size === 1 ? 65_536 : size;
      if (this.#pageSize < 512 || (this.#pageSize & (this.#pageSize - 1)) !== 0 || this.#header[20] !== 0) {
        throw damage('its pages have no size that there is');
      }
      this.#total = this.#header.readUInt32BE(28);
      const bytes = fstatSync(this.#file).size;
      if (this.#total === 0 || bytes !== this.#total * this.#pageSize) {
        throw damage(`it has ${bytes} bytes, not ${this.#total} pages of ${this.#pageSize}`);
      }
    } catch (error) {
      closeSync(this.#file);
      throw error;
    }
    this.#page = Buffer.alloc(this.#pageSize);
    this.#seen = new Uint8Array(this.#total + 1);
  }

  close(): void {
    closeSync(this.#file);
  }

  /**
   * Checks the pages that SQLite reads before it does anything else.
   * @throws Error with SQLite's code for damage
   */
  checkSchemaPages(): void {
    this.#begin();
    this.#tree(SCHEMA_ROOT, { pages: SCHEMA_PAGES, rowBytes: SCHEMA_ROW_BYTES }, () => false);
  }

  /**
   * Checks all pages.
   * @param roots where the b-trees begin, but for that of the schema
   * @returns false if it was stopped
   * @throws Error with SQLite's code for damage
   */
  checkPages(roots: readonly number[], isStopped: () => boolean): boolean {
    this.#begin();
    for (const root of [SCHEMA_ROOT, ...roots]) {
      if (!this.#tree(root, UNLIMITED, isStopped)) return false;
    }
    this.#freePages();
    if (this.#unseen !== 0) throw damage(`${this.#unseen} pages are lost`);
    return true;
  }

  #begin(): void {
    this.#seen = new Uint8Array(this.#total + 1);
    this.#unseen = this.#total;
    const lockPage = Math.floor(LOCK_BYTE / this.#pageSize) + 1;
    if (lockPage <= this.#total) this.#see(lockPage);
    // With auto_vacuum, some pages say what the pages behind them are, five bytes for each.
    if (this.#header.readUInt32BE(52) === 0) return;
    const distance = Math.floor(this.#pageSize / 5) + 1;
    for (let page = 2; page <= this.#total; page += distance) this.#see(page === lockPage ? page + 1 : page);
  }

  #see(page: number): void {
    if (page < 1 || page > this.#total) throw damage(`there is no page ${page}`);
    if (this.#seen[page] !== 0) throw damage(`page ${page} is used twice`);
    this.#seen[page] = 1;
    this.#unseen -= 1;
  }

  /** @returns false if it was stopped */
  #tree(root: number, limits: WalkLimits, isStopped: () => boolean): boolean {
    const pending = [{ page: root, depth: 1 }];
    let isTable: boolean | null = null;
    for (let count = 1; ; count += 1) {
      const next = pending.pop();
      if (next === undefined) return true;
      if (isStopped()) return false;
      const { page, depth } = next;
      if (depth > MAX_DEPTH) throw damage(`the b-tree of page ${root} is deeper than ${MAX_DEPTH} pages`);
      if (count > limits.pages)
        throw damage(`the b-tree of page ${root} has more than ${limits.pages} pages`);
      this.#see(page);
      this.#read(page, this.#page);
      const kind = this.#page[page === SCHEMA_ROOT ? FILE_HEADER_BYTES : 0] as number;
      isTable ??= kind === INNER_TABLE || kind === LEAF_TABLE;
      if (![isTable ? INNER_TABLE : INNER_INDEX, isTable ? LEAF_TABLE : LEAF_INDEX].includes(kind)) {
        throw damage(`page ${page} is no page of its b-tree`);
      }
      for (const child of this.#cells(page, kind, limits)) pending.push({ page: child, depth: depth + 1 });
    }
  }

  /** Looks at the cells of the page that was read, and follows what they have elsewhere. @returns its children */
  #cells(page: number, kind: number, limits: WalkLimits): number[] {
    const bytes = this.#page;
    const at = page === SCHEMA_ROOT ? FILE_HEADER_BYTES : 0;
    const isInner = kind === INNER_TABLE || kind === INNER_INDEX;
    const count = bytes.readUInt16BE(at + 3);
    const pointers = at + (isInner ? 12 : 8);
    const begin = pointers + 2 * count;
    let used = begin;
    if (used > bytes.length) throw damage(`page ${page} has too many cells`);
    const children: number[] = isInner ? [bytes.readUInt32BE(at + 8)] : [];
    const chains: Chain[] = [];
    for (let index = 0; index < count; index += 1) {
      const cell = bytes.readUInt16BE(pointers + 2 * index);
      // A cell has at least four bytes.
      if (cell < begin || cell + 4 > bytes.length) throw damage(`a cell of page ${page} is outside of it`);
      if (isInner) children.push(bytes.readUInt32BE(cell));
      const { end, chain } = this.#cell(isInner ? cell + 4 : cell, kind, limits);
      used += end - cell;
      if (end > bytes.length || used > bytes.length) throw damage(`the cells of page ${page} overlap`);
      if (chain !== null) chains.push(chain);
    }
    // Reading them changes nothing of the page.
    for (const chain of chains) this.#follow(chain);
    return children;
  }

  /** @param at behind the number of the child, if there is one @returns where the cell ends */
  #cell(at: number, kind: number, { rowBytes }: WalkLimits): { end: number; chain: Chain | null } {
    const first = varint(this.#page, at);
    // What is there is the row's number.
    if (kind === INNER_TABLE) return { end: first.end, chain: null };
    const length = first.value;
    if (length > rowBytes) throw damage(`a row has ${length} bytes`);
    const start = kind === LEAF_TABLE ? varint(this.#page, first.end).end : first.end;
    const usable = this.#pageSize;
    const most = kind === LEAF_TABLE ? usable - 35 : Math.floor(((usable - 12) * 64) / 255) - 23;
    if (length <= most) return { end: start + length, chain: null };
    const least = Math.floor(((usable - 12) * 32) / 255) - 23;
    const fitting = least + ((length - least) % (usable - 4));
    const local = fitting <= most ? fitting : least;
    const end = start + local + 4;
    if (end > usable) return { end, chain: null };
    const pages = Math.ceil((length - local) / (usable - 4));
    return { end, chain: { first: this.#page.readUInt32BE(start + local), pages } };
  }

  #follow({ first, pages }: Chain): void {
    let page = first;
    for (let left = pages; left > 0; left -= 1) {
      this.#see(page);
      this.#read(page, this.#link);
      page = this.#link.readUInt32BE(0);
    }
    if (page !== 0) throw damage('a chain of overflow pages is too long');
  }

  #freePages(): void {
    let left = this.#header.readUInt32BE(36);
    for (let trunk = this.#header.readUInt32BE(32); trunk !== 0; ) {
      this.#see(trunk);
      this.#read(trunk, this.#page);
      const leaves = this.#page.readUInt32BE(4);
      if (leaves > this.#pageSize / 4 - 2) throw damage(`page ${trunk} lists too many free pages`);
      for (let index = 0; index < leaves; index += 1) this.#see(this.#page.readUInt32BE(8 + 4 * index));
      left -= leaves + 1;
      trunk = this.#page.readUInt32BE(0);
    }
    if (left !== 0) throw damage('the number of free pages is wrong');
  }

  #read(page: number, into: Buffer): void {
    const read = readSync(this.#file, into, 0, into.length, (page - 1) * this.#pageSize);
    if (read < into.length) throw damage(`page ${page} cannot be read`);
  }
}

/** The pages in which a row goes on. */
interface Chain {
  readonly first: number;
  readonly pages: number;
}

/** SQLite's numbers: seven bits a byte, and of the ninth all eight. Beyond 2^53 the value is about right. */
function varint(bytes: Buffer, at: number): { value: number; end: number } {
  let value = 0;
  for (let index = 0; index < 8; index += 1) {
    const byte = bytes[at + index];
    if (byte === undefined) return { value, end: bytes.length + 1 };
    value = value * 128 + (byte & 0x7f);
    if (byte < 0x80) return { value, end: at + index + 1 };
  }
  return { value: value * 256 + (bytes[at + 8] ?? 0), end: at + 9 };
}
