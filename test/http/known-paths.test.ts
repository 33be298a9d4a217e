/** What answers a request that no route takes finds the path's methods without taking a long path apart again and again. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import Fastify from 'fastify';
import { KnownPaths } from '../../src/http/known-paths.ts';

const PATHS = ['/v1/info', '/v1/keys/:key', '/v1/keys/:key/append', '/docs/*'];

/** An app with routes for GET at `PATHS`. */
function withPaths(t: TestContext) {
  const app = Fastify();
  const known = new KnownPaths(app, 'all');
  for (const path of PATHS) app.get(path, { exposeHeadRoute: false }, async () => '');
  let pieces = 0;
  /** Counts the pieces into which the work takes texts apart. */
  const counted = <T>(work: () => T): T => {
    const split = String.prototype.split as (...args: readonly unknown[]) => string[];
    const mock = t.mock.method(String.prototype, 'split', function (this: string, ...args: unknown[]) {
      const parts = split.apply(this, args);
      pieces += parts.length;
      return parts;
    });
    try {
      return work();
    } finally {
      mock.mock.restore();
    }
  };
  app.setNotFoundHandler((request, reply) => counted(() => known.answer(request, reply)));
  const shown = (path: string): string => counted(() => known.shown('GET', path));
  return { app, shown, pieces: () => pieces };
}

test('a path of 15,000 slashes is not taken apart, whether it is asked for or shown in the log', async (t) => {
  const { app, shown, pieces } = withPaths(t);
  for (const begin of ['/a', '/v1/info', '/v1/keys', '/docs']) {
    for (const method of ['POST', 'OPTIONS'] as const) {
      const url = begin + '/'.repeat(15_000);
      const before = pieces();
      const { statusCode } = await app.inject({ method, url });
      assert.ok(pieces() - before < 200, `${method} ${begin}: ${pieces() - before} pieces`);
      if (!['/docs', '/v1/keys'].includes(begin)) assert.equal(statusCode, 404, begin);
    }
  }
  const before = pieces();
  assert.equal(shown(`/a${'/'.repeat(15_000)}`), 'unknown');
  assert.equal(shown(`/docs${'/'.repeat(15_000)}`), '/docs/*');
  assert.ok(pieces() - before < 200, `shown: ${pieces() - before} pieces`);
});

test('a path has the methods of its pattern and of no other', async (t) => {
  const { app } = withPaths(t);
  for (const [url, status] of [
    ['/v1/info', 405],
    ['/v1/info/', 404],
    ['/v1', 404],
    ['/v1/keys/k', 405],
    ['/v1/keys/a/b', 405],
    ['/v1/keys/k/append', 405],
    ['/v1/keys/', 400],
    ['/docs/', 405],
    ['/docs/a/b/c/d/e/f/g/h/i/j/k', 405],
    ['/docs', 404],
    ['/a/b/c/d/e/f/g/h/i/j/k', 404],
  ] as const) {
    const { statusCode, headers } = await app.inject({ method: 'DELETE', url });
    assert.equal(statusCode, status, url);
    assert.equal(headers.allow, status === 405 ? 'GET, OPTIONS' : undefined, url);
  }
});
