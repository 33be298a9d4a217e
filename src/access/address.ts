/** What counts as one client by its address. Pure. */
import { isIPv4, isIPv6 } from 'node:net';

/** Beginnings of the IPv6 addresses whose last 32 bits are an IPv4 address, as groups of 16 bits: RFC 4291, 2.5.5.2, and RFC 6052, 2.1. */
const EMBEDDING: ReadonlySet<string> = new Set(['0:0:0:0:0:ffff', '64:ff9b:0:0:0:0']);

/**
 * @param address of a socket, or of what a proxy says; in any spelling
 * @returns what counts as one client: an IPv4 address, also one within an IPv6 address, or the first 64 bits of an IPv6 address
 */
export function clientOf(address: string): string {
  const bare = address.split('%', 1)[0] as string;
  if (!isIPv6(bare)) return address;
  const groups = groupsOf(bare);
  if (!EMBEDDING.has(groups.slice(0, 6).map(hex).join(':'))) return groups.slice(0, 4).map(hex).join(':');
  return groups
    .slice(6)
    .flatMap((group) => [group >> 8, group & 0xff])
    .join('.');
}

/** @returns the eight groups of an IPv6 address */
function groupsOf(address: string): readonly number[] {
  const [before = [], after = []] = address.split('::').map(partOf);
  const zeros = Array<number>(8 - before.length - after.length).fill(0);
  return [...before, ...zeros, ...after];
}

function partOf(text: string): readonly number[] {
  if (text === '') return [];
  return text.split(':').flatMap((each) => {
    if (!isIPv4(each)) return [Number.parseInt(each, 16)];
    const [a = 0, b = 0, c = 0, d = 0] = each.split('.').map(Number);
    return [a * 256 + b, c * 256 + d];
  });
}

function hex(group: number): string {
  return group.toString(16);
}
