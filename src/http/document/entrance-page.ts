/** `GET /`: says what answers here, and where its description is; a page for browsers, else JSON. */

export const ENTRANCE_TYPES = ['application/json', 'text/html'] as const;

/** The page runs nothing and loads nothing. */
export const ENTRANCE_POLICY =
  "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** @param base URL of the node, without a final slash */
export function entrance(base: string) {
  return {
    name: 'psyncd',
    docs: `${base}/docs/`,
    openapi: `${base}/openapi.json`,
    keys: `${base}/v1/keys`,
    replication: `${base}/v1/replication`,
  };
}

/** @param base URL of the node, without a final slash */
export function entrancePage(base: string): string {
  const { docs, openapi, keys, replication } = entrance(base);
  const lines = [
    [docs, 'try the API'],
    [openapi, 'its description, for generators of clients'],
    [keys, 'the keys'],
    [replication, 'role, position and replicas'],
  ].map(([url = '', text]) => `<li><a href="${escaped(url)}">${escaped(url)}</a>: ${text}</li>\n`);
  return `<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>psyncd</title>\n<h1>psyncd</h1>\n<ul>\n${lines.join('')}</ul>\n</html>\n`;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}
