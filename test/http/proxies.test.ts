/** What a node believes of the X-Forwarded headers. */
import assert from 'node:assert/strict';
import type { IncomingHttpHeaders } from 'node:http';
import test from 'node:test';
import fc from 'fast-check';
import { baseUrlOf } from '../../src/web/base-url.ts';
import { hostRefusal, KnownHosts } from '../../src/web/hosts.ts';
import { type Admission, isForeignPage, mayChange, mayCome } from '../../src/web/origins.ts';
import { type Forwarded, NO_PROXIES, Proxies } from '../../src/web/proxies.ts';

const PROXY = '10.0.0.7';
const proxies = new Proxies([PROXY, '192.168.0.0/16', 'fd00::/8']);
const admission = {
  proxies,
  hosts: new KnownHosts(['kv.example']),
  allowedOrigins: [],
  publicUrl: null,
};

function request(remoteAddress: string, headers: IncomingHttpHeaders, encrypted = false): Forwarded {
  return { headers, socket: { remoteAddress, remotePort: 5, encrypted } };
}

test('only a trusted proxy can say which client a request comes from', () => {
  const from = (address: string, forwardedFor: string): string =>
    proxies.addressOf(request(address, { 'x-forwarded-for': forwardedFor }));
  assert.equal(from('203.0.113.9', '198.51.100.1'), '203.0.113.9');
  assert.equal(from(PROXY, '198.51.100.1'), '198.51.100.1');
  assert.equal(from(`::ffff:${PROXY}`, '198.51.100.1'), '198.51.100.1', 'on a dual-stack socket');
  assert.equal(from('fd12::1', '2001:db8::1'), '2001:db8::1');
  assert.equal(from(PROXY, '[2001:db8::1]:4711'), '2001:db8::1');
  assert.equal(from(PROXY, '198.51.100.1:4711'), '198.51.100.1');
  assert.equal(
    NO_PROXIES.addressOf(request(PROXY, { 'x-forwarded-for': '198.51.100.1' })),
    PROXY,
    'without --trust-proxy',
  );
});

test('a client cannot choose its address: what it writes before its own is not looked at', () => {
  const from = (forwardedFor: string): string =>
    proxies.addressOf(request(PROXY, { 'x-forwarded-for': forwardedFor }));
  assert.equal(from('1.2.3.4, 198.51.100.1'), '198.51.100.1');
  assert.equal(from(`1.2.3.4, 198.51.100.1, 192.168.3.4`), '198.51.100.1', 'over two proxies');
  assert.equal(from('1.2.3.4, unknown'), PROXY);
  assert.equal(from('1.2.3.4, unknown, 192.168.3.4'), '192.168.3.4');
  assert.equal(from(''), PROXY);
  assert.equal(from(','.repeat(8_000)), PROXY);
  assert.equal(from(Array<string>(1_000).fill('192.168.0.1').join(',')), '192.168.0.1');
});

test('whatever the headers say, the client has an address that is one, and no untrusted sender is believed', () => {
  const words = fc.constantFrom(
    '1.2.3.4',
    '::1',
    '10.0.0.7',
    '192.168.1.1',
    'x',
    '',
    '[::1]:3',
    '1.2.3.4:5',
    '%',
    '1.2.3.4.5',
  );
  fc.assert(
    fc.property(fc.constantFrom(PROXY, '8.8.8.8', '::1'), fc.array(words), (sender, list) => {
      const address = proxies.addressOf(request(sender, { 'x-forwarded-for': list.join(',') }));
      assert.match(address, /^[\d.]+$|^[\da-f:.]+$/);
      if (sender !== PROXY) assert.equal(address, sender);
    }),
  );
});

test('a trusted proxy says scheme and host; the node answers only to names of its own', () => {
  const headers = { host: '10.0.0.1:7796', 'x-forwarded-host': 'kv.example', 'x-forwarded-proto': 'https' };
  const refusal = (remoteAddress: string, more: IncomingHttpHeaders = {}) =>
    hostRefusal({ ...request(remoteAddress, { ...headers, ...more }), httpVersion: '1.1' }, admission);
  assert.equal(baseUrlOf(request(PROXY, headers), admission), 'https://kv.example');
  assert.equal(baseUrlOf(request('8.8.8.8', headers), admission), 'http://10.0.0.1:7796');
  assert.equal(baseUrlOf(request('8.8.8.8', headers, true), admission), 'https://10.0.0.1:7796');
  assert.equal(
    baseUrlOf(request(PROXY, headers), { proxies, publicUrl: 'https://app.example/kv' }),
    'https://app.example/kv',
  );
  assert.equal(refusal(PROXY), null);
  assert.equal(refusal(PROXY, { 'x-forwarded-host': 'evil.example' })?.code, 'FORBIDDEN');
  assert.equal(refusal('8.8.8.8', { 'x-forwarded-host': 'evil.example' }), null, 'nobody looks at it');
  assert.equal(
    refusal(PROXY, { host: 'evil.example' })?.code,
    'FORBIDDEN',
    'a page on the machine of the proxy, whose name points there, can set X-Forwarded-Host',
  );
});

test('where the scheme is known, a page of the same host but the other scheme is foreign', () => {
  const comes = (
    origin: string,
    address: string,
    more: IncomingHttpHeaders = {},
    publicUrl: string | null = null,
  ) => mayCome(request(address, { origin, host: 'kv.example', ...more }), { ...admission, publicUrl });
  const proto = (scheme: string) => ({ 'x-forwarded-proto': scheme });
  assert.ok(comes('https://kv.example', PROXY, proto('https')));
  assert.ok(!comes('http://kv.example', PROXY, proto('https')));
  assert.ok(comes('http://kv.example', PROXY, proto('http')));
  assert.ok(
    comes('https://kv.example', '8.8.8.8', proto('http')),
    'a proxy that the node does not know may be in front',
  );
});

test('pages of the public URL are the own ones of a node only where it is called by the host of that URL', () => {
  const both = { ...admission, hosts: new KnownHosts(['kv.example', 'app.example']) };
  const comes = (origin: string, address: string, more: IncomingHttpHeaders, publicUrl: string) =>
    mayCome(request(address, { origin, ...more }), { ...both, publicUrl });
  const own = 'https://app.example/kv';
  for (const [host, forwarded, may] of [
    ['app.example', undefined, true],
    ['app.example:443', undefined, true],
    ['10.0.0.1:7796', 'app.example', true],
    ['10.0.0.1:7796', undefined, false],
    ['kv.example', undefined, false],
    ['app.example', 'kv.example', false],
  ] as const) {
    const headers = { host, ...(forwarded === undefined ? {} : { 'x-forwarded-host': forwarded }) };
    assert.equal(comes('https://app.example', PROXY, headers, own), may, `${host} ${forwarded}`);
    assert.ok(!comes('null', PROXY, headers, own));
    const http = { ...headers, 'x-forwarded-proto': 'https' };
    assert.ok(!comes('http://app.example', PROXY, http, own));
  }
  const stranger = { host: '10.0.0.1:7796', 'x-forwarded-host': 'app.example' };
  assert.ok(!comes('https://app.example', '8.8.8.8', stranger, own), 'no trusted proxy says so');
  for (const host of ['app.example', 'APP.example']) {
    assert.ok(!comes('http://app.example', '8.8.8.8', { host }, own), 'anybody on the network can serve it');
  }
  const scheme = { host: 'app.example', 'x-forwarded-proto': 'http' };
  assert.ok(comes('https://app.example', PROXY, scheme, own), 'a proxy further in front has the certificate');
});

test('the public URL does not lead to the admin listener', () => {
  const both = { ...admission, publicUrl: 'https://kv.example' };
  const at = (host: string, isPublic: boolean): boolean =>
    mayCome(request('8.8.8.8', { origin: 'https://kv.example', host }), both, isPublic);
  assert.ok(at('kv.example:7812', true));
  assert.ok(!at('kv.example:7812', false));
});

test('a page of another origin asks only if the settings let it, also by a link that somebody follows', () => {
  const foreign = (more: IncomingHttpHeaders, allowedOrigins: readonly string[] | 'any' = []): boolean =>
    isForeignPage(request('8.8.8.8', { host: 'kv.example', ...more }), { ...admission, allowedOrigins });
  for (const site of ['cross-site', 'same-site']) {
    assert.ok(foreign({ 'sec-fetch-site': site }), 'an image, or a prefetch');
    assert.ok(foreign({ 'sec-fetch-site': site, 'sec-fetch-dest': 'iframe' }));
    assert.ok(foreign({ 'sec-fetch-site': site, origin: 'https://evil.example' }));
    assert.ok(
      foreign({ 'sec-fetch-site': site, 'sec-fetch-dest': 'document' }),
      'a window that it navigates',
    );
    assert.ok(!foreign({ 'sec-fetch-site': site, origin: 'https://app.example' }, ['https://app.example']));
    assert.ok(!foreign({ 'sec-fetch-site': site }, 'any'));
  }
  for (const site of ['same-origin', 'none', undefined]) assert.ok(!foreign({ 'sec-fetch-site': site }));
  assert.ok(foreign({ 'sec-fetch-site': 'none', origin: 'https://evil.example' }), 'a background fetch');
  assert.ok(foreign({ 'sec-fetch-site': 'a new one' }));
  for (const [name, value] of [
    ['sec-purpose', 'prefetch'],
    ['sec-purpose', 'prefetch;prerender'],
    ['purpose', 'prefetch'],
    ['x-moz', 'prefetch'],
  ] as const) {
    for (const site of ['none', undefined]) {
      assert.ok(foreign({ 'sec-fetch-site': site, [name]: value }), 'a page can make the browser ask ahead');
      assert.ok(!foreign({ 'sec-fetch-site': site, [name]: value }, 'any'));
    }
    assert.ok(!foreign({ 'sec-fetch-site': 'same-origin', [name]: value }));
  }
  const ofPublicUrl = request('8.8.8.8', {
    host: 'kv.example:7799',
    origin: 'https://kv.example',
    'sec-fetch-site': 'same-site',
  });
  const published = { ...admission, publicUrl: 'https://kv.example' };
  assert.ok(!isForeignPage(ofPublicUrl, published));
  assert.ok(
    isForeignPage(ofPublicUrl, published, false),
    'the public URL does not lead to the admin listener',
  );
});

test('a page that the browser calls one of another site changes nothing, whatever origin it has, unless the settings let it', () => {
  const changes = (more: IncomingHttpHeaders, settings: Partial<Admission> = {}): boolean =>
    mayChange(request('8.8.8.8', { host: 'kv.example', ...more }), { ...admission, ...settings });
  const origin = 'https://kv.example';
  for (const site of ['cross-site', 'same-site', 'a new one']) {
    const says = { 'sec-fetch-site': site };
    assert.ok(!changes({ ...says, origin }), 'the scheme is not known');
    assert.ok(!changes({ ...says, origin: 'http://kv.example' }));
    assert.ok(!changes(says), 'no origin');
    assert.ok(changes({ ...says, origin }, { allowedOrigins: [origin] }));
    assert.ok(changes({ ...says, origin: 'https://app.example' }, { allowedOrigins: 'any' }));
    assert.ok(changes(says, { allowedOrigins: 'any' }));
    assert.ok(changes({ ...says, origin }, { publicUrl: 'https://kv.example' }), 'another port of its host');
  }
  for (const site of ['same-origin', 'none', undefined]) {
    assert.ok(changes({ 'sec-fetch-site': site, origin }));
    assert.ok(changes({ 'sec-fetch-site': site }));
    assert.ok(!changes({ 'sec-fetch-site': site, origin: 'https://evil.example' }));
  }
});
