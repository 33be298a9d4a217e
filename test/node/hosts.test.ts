import assert from 'node:assert/strict';
import test from 'node:test';
import { knownHosts } from '../../src/settings/live.ts';
import { loadSettings } from '../../src/settings/load.ts';
import { KnownHosts } from '../../src/web/hosts.ts';
import { mayCome } from '../../src/web/origins.ts';
import { NO_SETTINGS } from '../support/open-access.ts';

const DEFAULTS = loadSettings({}, {}, null);
const hosts = new KnownHosts(['DB.example', 'psync.internal:7796', 'my_node', '10.0.0.9', '::1']);

for (const host of [
  '127.0.0.1',
  '127.0.0.1:7796',
  '192.168.1.5:1',
  '0x7f.1',
  '127.1',
  '2130706433',
  '169.254.1.1',
  '[fe80::1]',
  '[64:ff9b::a00:1]',
  '[::1]',
  '[::1]:7796',
  '[2001:DB8::5]:80',
  'localhost',
  'LocalHost:7796',
  'localhost.',
  'localhost.:7796',
  'app.localhost:7796',
  'db.example',
  'dB.EXAMPLE.:9',
  'psync.internal',
  'psync.internal:1234',
  'my_node:7796',
]) {
  test(`a node answers to the Host ${host}`, () => {
    assert.equal(hosts.refusal(host, '1.1'), null);
    assert.ok(hosts.isKnown(host), 'the second time');
  });
}

for (const host of [
  'evil.example',
  'evil.example:7796',
  'a.db.example',
  'db.example.evil.example',
  'localhost.evil.example',
  'notlocalhost',
  '127.0.0.1.evil.example',
  '127.0.0.1@evil.example',
  'evil.example#localhost',
  'evil.example/localhost',
  'localhost:x',
  '::1',
  '[::1',
  '[::1]evil.example',
  '1.2.3.4.5',
  // Names of all addresses, or of none: systems take them for this machine, and browsers do not.
  '0.0.0.0',
  '0.0.0.0:7796',
  '0',
  '0x0',
  '00.0',
  '0.0.0.1',
  '[::]',
  '[::]:7796',
  '[0:0:0:0:0:0:0:0]',
  '[::0.0.0.0]',
  // IPv4 addresses in the clothes of IPv6.
  '[::ffff:127.0.0.1]',
  '[::FFFF:127.0.0.1]:7796',
  '[::ffff:7f00:1]',
  '[0:0:0:0:0:ffff:10.0.0.1]',
  '[::ffff:0:127.0.0.1]',
  '[::127.0.0.1]',
  'constructor',
  '__proto__',
  '',
  ' ',
  ',',
  'a"b.localhost',
  '$&.localhost',
  'a&b.localhost',
  "a'b.localhost",
  '%41.localhost',
  'a,b.localhost',
  '[::1%25lo]',
  'localhost, evil.example',
  'localhost\tevil.example',
  'x'.repeat(5_000),
]) {
  test(`a node does not answer to the Host ${JSON.stringify(host.slice(0, 40))}, and names the setting`, () => {
    for (const before of ['localhost', 'db.example', host]) {
      hosts.isKnown(before);
      const problem = hosts.refusal(host, '1.1');
      assert.equal(problem?.code, 'FORBIDDEN');
      assert.match(problem.message, /--allow-host/);
      assert.ok(problem.message.length < 300);
    }
  });
}

test('a node answers to 0.0.0.0 if it is told to, and not because it listens on all addresses', () => {
  assert.ok(new KnownHosts(['0.0.0.0']).isKnown('0.0.0.0:7796'));
  for (const [host, url] of [
    ['0.0.0.0', '0.0.0.0'],
    ['::', '[::]'],
  ] as const) {
    const listens = { host, adminListen: { host, port: 1 }, metricsListen: { host, port: 2 } };
    const everywhere = knownHosts({ ...DEFAULTS, ...listens, announceUrl: `ws://${url}:7796` });
    assert.ok(!everywhere.isKnown('0.0.0.0:7796'));
    assert.ok(!everywhere.isKnown('[::]:7796'));
    assert.ok(knownHosts({ ...DEFAULTS, ...listens, allowHost: ['0.0.0.0'] }).isKnown('0.0.0.0'));
  }
});

test('a request without a Host is answered if it is HTTP/1.0, and malformed otherwise', () => {
  assert.equal(hosts.refusal(undefined, '1.0'), null);
  assert.equal(hosts.refusal(undefined, '1.1')?.code, 'BAD_REQUEST');
});

test("a page comes from this node only if the node answers to the page's host", () => {
  const comes = (origin: string, host: string | undefined): boolean =>
    mayCome(
      { headers: { origin, host }, socket: { remoteAddress: '127.0.0.1', remotePort: 1 } },
      { ...NO_SETTINGS, hosts, allowedOrigins: ['https://app.example'] },
    );
  assert.ok(comes('http://db.example:7796', 'db.example:7796'));
  assert.ok(comes('http://127.0.0.1:7796', '127.0.0.1:7796'));
  assert.ok(!comes('http://evil.example:7796', 'evil.example:7796'));
  assert.ok(!comes('http://127.0.0.1:7797', '127.0.0.1:7796'));
  assert.ok(!comes('http://127.0.0.1:7796', undefined));
  assert.ok(comes('https://APP.example', '127.0.0.1:7796'));
});
