/**
 * Who gets the token when an answer redirects a request. `fetch` itself takes it along within one origin only (Fetch, HTTP-redirect
 * fetch). Beyond that, only the master gets it to which a replica redirects a write, and never over http after https.
 */

/** Largest number of replicas that a write goes through to its master. */
const MAX_HOPS = 8;

/**
 * Sends a request, and a write to a replica again to its master.
 * @param init with the header `Authorization`
 * @returns the last answer: of the master, or the redirect if the client may not follow it
 */
export async function sentToMaster(send: typeof fetch, url: string, init: RequestInit): Promise<Response> {
  // A stream cannot be sent twice.
  if (!init.method || 'duplex' in init) return send(url, init);
  let target = url;
  for (let hop = 0; ; hop += 1) {
    const response = await send(target, { ...init, redirect: 'manual' });
    if (response.type === 'opaqueredirect') return followed(send, target, init);
    const { status, headers } = response;
    const location = headers.get('location');
    // 303 says that the request was carried out.
    if (status < 300 || status > 399 || status === 303 || !location) return response;
    const problem = await (response.clone().json() as Promise<{ code?: unknown } | null>).catch(() => null);
    if (status !== 307 || problem?.code !== 'READONLY') return send(target, init);
    const master = new URL(location, target).href;
    if (hop === MAX_HOPS || isDowngrade(target, master)) return response;
    target = master;
  }
}

/** In a page, which sees of a redirect no more than where it has led to. */
async function followed(send: typeof fetch, target: string, init: RequestInit): Promise<Response> {
  const response = await send(target, init);
  const { status, url } = response;
  return status !== 401 || isDowngrade(target, url) ? response : send(url, init);
}

/** @returns whether a token would go over http after https */
export function isDowngrade(from: string, to: string): boolean {
  return /^https:/i.test(from) && !/^https:/i.test(to);
}
