/** Web servers: what a page is loaded from. */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';
import type { TestContext } from 'node:test';

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
};

/** Starts a web server. @returns its origin, `http://127.0.0.1:PORT` */
export async function webServer(t: TestContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/**
 * @param folders by the path that they are found under, the first one that fits
 * @returns the origin, `http://127.0.0.1:PORT`
 */
export function staticFiles(
  t: TestContext,
  folders: readonly (readonly [path: string, folder: string])[],
): Promise<string> {
  return webServer(t, (request, response) => {
    const { pathname } = new URL(request.url ?? '', 'http://files');
    const [path, folder] = folders.find(([each]) => pathname.startsWith(each)) ?? [];
    if (path === undefined || folder === undefined) {
      response.writeHead(404).end();
      return;
    }
    readFile(join(folder, normalize(pathname.slice(path.length)))).then(
      (bytes) => response.writeHead(200, { 'content-type': TYPES[extname(pathname)] ?? '' }).end(bytes),
      () => response.writeHead(404).end(),
    );
  });
}
