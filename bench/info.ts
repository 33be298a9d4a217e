import type { ChildNode } from '../src/cli/child-node.ts';

/** @returns the lines of `/v1/info`, by their names */
export async function infoOf({ url }: ChildNode): Promise<Readonly<Record<string, string>>> {
  const text = await (await fetch(`${url}/v1/info`)).text();
  return Object.fromEntries(text.split('\r\n').map((line) => line.split(':', 2) as [string, string]));
}
