/** What `/docs` asks before it sends a request. */

interface PageRequest {
  readonly url: string;
  readonly method?: string;
  signal?: AbortSignal;
}

/**
 * Asks whether a request that changes roles, deletes many entries, stops others or ends a token is meant, because the page has filled it in.
 * It runs in the browser, as text: it may use nothing of this file, and only what browsers have.
 * @returns the same request; one that is not meant is ended before it is sent, and the page says so
 */
export function askFirst(request: PageRequest): PageRequest {
  const call = `${request.method ?? 'GET'} ${new URL(request.url).pathname}`;
  const asks = [
    [/^DELETE \S*\/v1\/keys$/, 'It deletes all keys, or all that begin with the prefix.'],
    [/^DELETE \S*\/v1\/tokens\/[^/]+$/, 'Whoever uses the token is disconnected.'],
    [
      /^(?:PUT|DELETE) \S*\/v1\/replication\/upstream$/,
      'It changes the role of this node, and a replica may take other data.',
    ],
    [/^(?:POST|DELETE) \S*\/v1\/replication\/failover$/, 'It changes which node is the master.'],
    [/^DELETE \S*\/v1\/replication\/sessions\/[^/]+$/, 'It disconnects a replica.'],
    [/^POST \S*\/v1\/replication\/counters\/reset$/, 'Nobody can read the present counts afterwards.'],
    [/^PUT \S*\/v1\/writes\/hold$/, 'All writes wait meanwhile.'],
    [/^POST \S*\/v1\/replication\/accept$/, 'The data of this node is replaced by that of its master.'],
  ] as const;
  const page = globalThis as unknown as { readonly confirm: (question: string) => boolean };
  for (const [pattern, what] of asks) {
    if (pattern.test(call) && !page.confirm(`${call}\n\n${what} Send it?`)) {
      request.signal = AbortSignal.abort(new Error('it was not sent'));
    }
  }
  return request;
}
