/**
 * Checks the pages of a database file without SQLite, which trusts them more than a foreign file deserves: b-trees
 * whose pages refer to one page many times keep SQLite busy for ever, and cells that claim gigabytes exhaust its
 * memory. In a file that passes, each page is in exactly one place (a b-tree, a chain of overflow pages or the list of
 * free pages), and each row is as long as its pages are. After that, every operation of SQLite ends in a time
 * proportional to the file's size.
 *
 * The format: https://www.sqlite.org/fileformat2.html
 */
import { damage } from '../keyspace/entry-checksum.ts';
import type { PageSource } from './page-source.ts';
import { varint } from './varint.ts';

/** First page of SQLite's table of tables, `sqlite_schema`. */
const SCHEMA_ROOT = 1;
/**
 * Largest number of pages of the schema, and largest row in bytes. psyncd's schema has two pages and rows of at most
 * 400 bytes.
 */
const SCHEMA_PAGES = 16;
const SCHEMA_ROW_BYTES = 16 * 1024;
const MAGIC = 'SQLite format 3\0';
const FILE_HEADER_BYTES = 100;
/** Greatest depth of a b-tree, the same as SQLite's limit. */
const MAX_DEPTH = 20;
/** Offset of the bytes that SQLite locks; it never uses the page that holds them. */
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

/** Visits each row of a b-tree, page by page and in order within a page. */
export interface RowVisitor {
  /** First page of the b-tree. */
  readonly root: number;
  /** Longest row allowed, in bytes. */
  readonly rowBytes: number;
  /**
   * Called at the start of a page.
   * @param after key that all rows of the page must follow; null: it is the first page
   */
  begin(after: Buffer | null): void;
  /** @param record holds the row from `start` to `end`, only until this call returns */
  row(record: Buffer, start: number, end: number): void;
  /** @returns a copy of the last row's key */
  lastKey(): Buffer;
  /**
   * Called at the end of a page.
   * @param before key that all rows of the page must precede; null: it is the last page
   */
  end(before: Buffer | null): void;
}

/** A page of a b-tree, and the keys between which its rows must be, if there is a visitor. */
interface TreePage {
  readonly page: number;
  readonly depth: number;
  readonly after: Buffer | null;
  readonly before: Buffer | null;
}

export class PageWalk {
  readonly #source: PageSource;
  readonly #pageSize: number;
  readonly #total: number;
  readonly #header = Buffer.alloc(FILE_HEADER_BYTES);
  readonly #page: Buffer;
  readonly #link = Buffer.alloc(4);
  #seen: Uint8Array;
  #unseen = 0;
  #visitor: RowVisitor | null = null;
  #at = 0;

  /**
   * @param source `close` closes it
   * @throws Error with SQLite's code for damage if the header is not a database's or states another length; the source
   * is closed then
   */
  constructor(source: PageSource) {
    this.#source = source;
    try {
      source.read(0, this.#header);
      if (this.#header.toString('latin1', 0, MAGIC.length) !== MAGIC) throw damage('it is not a database');
      const size = this.#header.readUInt16BE(16);
      this.#pageSize = size === 1 ? 65_536 : size;
      if (this.#pageSize < 512 || (this.#pageSize & (this.#pageSize - 1)) !== 0 || this.#header[20] !== 0) {
        throw damage('its page size is not valid');
      }
      this.#total = this.#header.readUInt32BE(28);
      const { bytes } = source;
      if (this.#total === 0 || bytes !== this.#total * this.#pageSize) {
        throw damage(`it has ${bytes} bytes, not ${this.#total} pages of ${this.#pageSize}`);
      }
    } catch (error) {
      source.close();
      throw error;
    }
    this.#page = Buffer.alloc(this.#pageSize);
    this.#seen = new Uint8Array(this.#total + 1);
  }

  close(): void {
    this.#source.close();
  }

  /**
   * Checks the pages that SQLite reads first.
   * @throws Error with SQLite's code for damage
   */
  checkSchemaPages(): void {
    this.#begin();
    this.#tree(SCHEMA_ROOT, { pages: SCHEMA_PAGES, rowBytes: SCHEMA_ROW_BYTES }, () => false);
  }

  /**
   * Checks all pages.
   * @param roots first pages of the b-trees, without the schema's
   * @param visitor visits the rows of one b-tree, which must be an index or a table WITHOUT ROWID
   * @returns false if the check was stopped
   * @throws Error with SQLite's code for damage, and the visitor's errors
   */
  checkPages(roots: readonly number[], visitor: RowVisitor, isStopped: () => boolean): boolean {
    this.#begin();
    for (const root of [SCHEMA_ROOT, ...roots]) {
      this.#visitor = root === visitor.root ? visitor : null;
      const limits = this.#visitor === null ? UNLIMITED : { ...UNLIMITED, rowBytes: visitor.rowBytes };
      if (!this.#tree(root, limits, isStopped)) return false;
    }
    this.#visitor = null;
    this.#freePages();
    if (this.#unseen !== 0) throw damage(`${this.#unseen} pages are lost`);
    return true;
  }

  #begin(): void {
    this.#seen = new Uint8Array(this.#total + 1);
    this.#unseen = this.#total;
    const lockPage = Math.floor(LOCK_BYTE / this.#pageSize) + 1;
    if (lockPage <= this.#total) this.#see(lockPage);
    // With auto_vacuum, pointer-map pages describe the pages after them, in five bytes each.
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

  /** @returns false if the check was stopped */
  #tree(root: number, limits: WalkLimits, isStopped: () => boolean): boolean {
    const pending: TreePage[] = [{ page: root, depth: 1, after: null, before: null }];
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
      // The first child comes next: neighbours in a b-tree are often neighbours in the file.
      pending.push(...this.#cells(next, kind, limits).reverse());
    }
  }

  /**
   * Checks the cells of the page in the buffer and follows their overflow pages.
   * @returns the children of the page
   */
  #cells({ page, depth, after, before }: TreePage, kind: number, limits: WalkLimits): TreePage[] {
    const visitor = this.#visitor;
    const bytes = this.#page;
    const at = page === SCHEMA_ROOT ? FILE_HEADER_BYTES : 0;
    const isInner = kind === INNER_TABLE || kind === INNER_INDEX;
    const count = bytes.readUInt16BE(at + 3);
    const pointers = at + (isInner ? 12 : 8);
    const begin = pointers + 2 * count;
    let used = begin;
    if (used > bytes.length) throw damage(`page ${page} has too many cells`);
    const children: TreePage[] = [];
    let lower = after;
    visitor?.begin(after);
    for (let index = 0; index < count; index += 1) {
      const cell = bytes.readUInt16BE(pointers + 2 * index);
      // The smallest cell has four bytes.
      if (cell < begin || cell + 4 > bytes.length) throw damage(`a cell of page ${page} is outside of it`);
      used += this.#cell(isInner ? cell + 4 : cell, kind, limits) - cell;
      if (used > bytes.length) throw damage(`the cells of page ${page} overlap`);
      if (!isInner) continue;
      const upper = visitor?.lastKey() ?? null;
      children.push({ page: bytes.readUInt32BE(cell), depth: depth + 1, after: lower, before: upper });
      lower = upper;
    }
    visitor?.end(before);
    if (isInner) children.push({ page: bytes.readUInt32BE(at + 8), depth: depth + 1, after: lower, before });
    return children;
  }

  /**
   * Checks one cell.
   * @param at place after the child's page number, if there is one
   * @returns the place where the cell ends
   */
  #cell(at: number, kind: number, { rowBytes }: WalkLimits): number {
    const size = this.#pageSize;
    const length = this.#varint(at);
    // The number that was just read is the row number.
    if (kind === INNER_TABLE) return this.#at;
    if (length > rowBytes) throw damage(`a row has ${length} bytes; ${rowBytes} are the most`);
    if (kind === LEAF_TABLE) this.#varint(this.#at);
    const start = this.#at;
    const most = kind === LEAF_TABLE ? size - 35 : Math.floor(((size - 12) * 64) / 255) - 23;
    if (length <= most) {
      if (start + length > size) throw damage('a row goes beyond its page');
      this.#visitor?.row(this.#page, start, start + length);
      return start + length;
    }
    const least = Math.floor(((size - 12) * 32) / 255) - 23;
    const fitting = least + ((length - least) % (size - 4));
    const local = fitting <= most ? fitting : least;
    const end = start + local;
    if (end + 4 > size) throw damage('a row goes beyond its page');
    const first = this.#page.readUInt32BE(end);
    if (this.#visitor === null) this.#follow(first, length - local);
    else {
      const row = Buffer.concat([this.#page.subarray(start, end), this.#collect(first, length - local)]);
      this.#visitor.row(row, 0, length);
    }
    return end + 4;
  }

  /**
   * Follows a chain of overflow pages.
   * @param bytes how many bytes of the row are in the chain
   */
  #follow(first: number, bytes: number): void {
    let page = first;
    for (let left = bytes; left > 0; left -= this.#pageSize - 4) {
      this.#see(page);
      this.#read(page, this.#link);
      page = this.#link.readUInt32BE(0);
    }
    if (page !== 0) throw damage('a chain of overflow pages is too long');
  }

  /**
   * Follows a chain of overflow pages.
   * @returns the bytes in them
   */
  #collect(first: number, bytes: number): Buffer {
    const parts: Buffer[] = [];
    let page = first;
    for (let left = bytes; left > 0; left -= this.#pageSize - 4) {
      const part = Buffer.alloc(this.#pageSize);
      this.#see(page);
      this.#read(page, part);
      page = part.readUInt32BE(0);
      parts.push(part.subarray(4, 4 + left));
    }
    if (page !== 0) throw damage('a chain of overflow pages is too long');
    return Buffer.concat(parts);
  }

  /** Reads a variable-length number of the page in the buffer and sets `#at` to the place after it. */
  #varint(at: number): number {
    const first = this.#page[at] as number;
    if (first < 0x80) {
      this.#at = at + 1;
      return first;
    }
    const second = this.#page[at + 1] ?? 0x80;
    if (second < 0x80) {
      this.#at = at + 2;
      return (first & 0x7f) * 128 + second;
    }
    const { value, end } = varint(this.#page, at);
    this.#at = end;
    return value;
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
    const read = this.#source.read((page - 1) * this.#pageSize, into);
    if (read < into.length) throw damage(`page ${page} cannot be read`);
  }
}
