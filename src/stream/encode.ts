import { assertNever, type Command, type Run } from './command.ts';

const CRLF = '\r\n';

/**
 * Encodes commands as RESP2, once, into one buffer of exactly their length.
 *
 * The values of the returned commands are views into the returned bytes, so that what a request brought can be
 * let go: a small body is often a view that keeps a 64 KiB socket buffer alive.
 *
 * @returns the bytes, the commands, and where each of them ends (relative to the start of the bytes)
 */
export function encode(commands: readonly Command[]): Run {
  const heads = commands.map(head);
  let total = 0;
  for (const [index, command] of commands.entries()) {
    total += Buffer.byteLength(heads[index] as string);
    if (command.kind === 'set') total += command.value.length + tail(command.expiresAt).length;
  }
  // Not from Node's shared pool: the bytes live on in the overlay.
  const bytes = Buffer.allocUnsafeSlow(total);
  const encoded: Command[] = [];
  const ends: number[] = [];
  let at = 0;
  for (const [index, command] of commands.entries()) {
    at += bytes.write(heads[index] as string, at, 'utf8');
    if (command.kind === 'set') {
      const from = at;
      bytes.set(command.value, from);
      at += command.value.length;
      const value = bytes.subarray(from, at);
      at += bytes.write(tail(command.expiresAt), at, 'latin1');
      encoded.push({ kind: 'set', key: command.key, value, expiresAt: command.expiresAt });
    } else {
      encoded.push(command);
    }
    ends.push(at);
  }
  return { bytes, commands: encoded, ends };
}

/** Everything of a command up to its value; of a command without a value, everything. */
function head(command: Command): string {
  switch (command.kind) {
    case 'set': {
      const count = command.expiresAt === null ? 3 : 5;
      return `*${count}${CRLF}$3${CRLF}SET${CRLF}${bulk(command.key)}$${command.value.length}${CRLF}`;
    }
    case 'del':
      return array(['DEL', ...command.keys]);
    case 'expire-at':
      return array(['PEXPIREAT', command.key, String(command.expiresAt)]);
    case 'persist':
      return array(['PERSIST', command.key]);
    case 'flush-all':
      return array(['FLUSHALL']);
    default:
      return assertNever(command);
  }
}

/** What follows a SET's value. */
function tail(expiresAt: number | null): string {
  return expiresAt === null ? CRLF : `${CRLF}${bulk('PXAT')}${bulk(String(expiresAt))}`;
}

/** A RESP2 array of bulk strings, as text. */
export function array(elements: readonly string[]): string {
  return `*${elements.length}${CRLF}${elements.map(bulk).join('')}`;
}

function bulk(text: string): string {
  return `$${Buffer.byteLength(text)}${CRLF}${text}${CRLF}`;
}

/** An upper bound of what one SET takes on the wire, in bytes, without encoding it. */
export function setBytes(key: string, valueBytes: number): number {
  // `*5 $3 SET $1024 $16777216 $4 PXAT $16 <16 digits>` with their line ends are 77 bytes.
  return 96 + Buffer.byteLength(key) + valueBytes;
}
