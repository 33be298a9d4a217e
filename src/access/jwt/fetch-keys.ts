/** Fetches a JWKS. Whoever answers there is a stranger until the answer is parsed. */

/** Longest time for a whole answer, in milliseconds. */
const FETCH_MS = 5_000;
/** Largest JWKS, in bytes. */
export const MAX_KEYS_BYTES = 256 * 1024;

/**
 * Follows no redirect: the keys would come from a place that nobody has named.
 * @param stopped ends the request
 * @returns the text of the JWKS
 * @throws Error that says why there is none
 */
export async function fetchKeys(url: string, stopped: AbortSignal): Promise<string> {
  const answer = await fetch(url, {
    redirect: 'manual',
    signal: AbortSignal.any([stopped, AbortSignal.timeout(FETCH_MS)]),
    headers: { accept: 'application/jwk-set+json, application/json' },
  });
  if (answer.status !== 200) {
    await answer.body?.cancel();
    throw new Error(`the answer has the status ${answer.status}`);
  }
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of answer.body ?? []) {
    bytes += chunk.length;
    // Leaving the loop cancels the answer.
    if (bytes > MAX_KEYS_BYTES) throw new Error(`the answer has more than ${MAX_KEYS_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, bytes).toString('utf8');
}
