import assert from 'node:assert/strict';
import test from 'node:test';
import {
  canonicalUpstream,
  httpUrl,
  MAX_NODE_URL_LENGTH,
  notAnUpstream,
  parsePublicUrl,
  parseUpstream,
  reachableUrl,
  upstreamProblem,
} from '../../src/replication/upstream.ts';

for (const [text, canonical] of [
  ['ws://127.0.0.1:7796', 'ws://127.0.0.1:7796'],
  ['ws://127.0.0.1:7796/', 'ws://127.0.0.1:7796'],
  ['WSS://Node-1.Example.COM:443', 'wss://node-1.example.com'],
  ['ws://node_1', 'ws://node_1'],
  ['ws://[::1]:7796', 'ws://[::1]:7796'],
  ['ws://psyncd_replica1_1:7796', 'ws://psyncd_replica1_1:7796'],
  ['ws://eyjafjallajokull.example:7796', 'ws://eyjafjallajokull.example:7796'],
  ['ws://münchen.example:7796', 'ws://xn--mnchen-3ya.example:7796'],
  [`ws://${'a'.repeat(60)}.${'b'.repeat(60)}.${'c'.repeat(60)}.example:65535`, null],
] as const) {
  test(`${text.slice(0, 60)} is the URL of a node`, () => {
    const url = parseUpstream(text);
    assert.ok(url !== null);
    assert.equal(canonicalUpstream(url), canonical ?? text);
  });
}

for (const text of [
  '',
  'h:1',
  'http://h:1',
  'ftp://h:1',
  'ws:h:1',
  'ws:\\\\h:1',
  'ws://',
  'ws://:1',
  'ws://h:0',
  'ws://h:65536',
  'ws://h:x',
  'ws://h:1//',
  'ws://h:1/path',
  'ws://h:1/.',
  'ws://h:1?',
  'ws://h:1?q=1',
  'ws://h:1#',
  'ws://user@h:1',
  'ws://user:password@h:1',
  'ws://@h:1',
  ' ws://h:1',
  'ws://h:1 ',
  'ws://h\t:1',
  'ws://h\n:1',
  'ws://h\r\nx:1',
  'ws://h\u0000:1',
  'ws://h\u007f:1',
  'ws://h\u009b:1',
  'ws://h,ip=x:1',
  'ws://h=x:1',
  "ws://h'x:1",
  'ws://h;x:1',
  'ws://h"x:1',
  'ws://-h:1',
  `ws://${'a.'.repeat(127)}a:1`,
  `ws://h:${'0'.repeat(MAX_NODE_URL_LENGTH)}1`,
]) {
  test(`${JSON.stringify(text.slice(0, 60))} is the URL of no node`, () => {
    assert.equal(parseUpstream(text), null);
    assert.match(upstreamProblem(text, null) ?? '', /is no URL of the form ws:\/\/HOST:PORT$/);
    assert.ok(notAnUpstream(text).length < 400);
  });
}

test('a node that announces all of its addresses is reached where it comes from', () => {
  assert.equal(reachableUrl('ws://0.0.0.0:7796', '10.1.2.3:50000'), 'ws://10.1.2.3:7796');
  assert.equal(reachableUrl('wss://[::]', '::ffff:10.1.2.3:50000'), 'wss://10.1.2.3:443');
  assert.equal(reachableUrl('ws://[::]:7796', '2001:db8::1:50000'), 'ws://[2001:db8::1]:7796');
  assert.equal(reachableUrl('ws://node:7796', '10.1.2.3:50000'), 'ws://node:7796');
});

test('a URL of a node has an HTTP address', () => {
  assert.equal(httpUrl('ws://h:1/'), 'http://h:1');
  assert.equal(httpUrl('wss://h'), 'https://h');
});

for (const [text, canonical] of [
  ['https://app.example', 'https://app.example'],
  ['HTTPS://App.Example:443/kv/', 'https://app.example/kv'],
  ['http://127.0.0.1:8080/a/b-c_d.e~1', 'http://127.0.0.1:8080/a/b-c_d.e~1'],
  ['http://[::1]:7796/', 'http://[::1]:7796'],
] as const) {
  test(`${text} is a public URL`, () => assert.equal(parsePublicUrl(text), canonical));
}

for (const text of [
  '',
  'app.example',
  '/kv',
  'ws://app.example',
  'https://',
  'https:///kv',
  'https://app.example/kv?x=1',
  'https://app.example/kv#x',
  'https://me@app.example/kv',
  'https://app.example/a//b',
  'https://app.example/a/../b',
  'https://app.example/.',
  'https://app.example/a b',
  'https://app.example/a%20b',
  'https://app.example/ä',
  'https://app.example\\kv',
  'https://app.example/kv\n',
  'https://0.0.0.0/kv',
  'https://app.example:0/kv',
  `https://app.example/${'a'.repeat(MAX_NODE_URL_LENGTH)}`,
]) {
  test(`${JSON.stringify(text.slice(0, 60))} is no public URL`, () =>
    assert.equal(parsePublicUrl(text), null));
}

/** A token of psyncd, and a signed one. */
const TOKENS = [
  `psyncd_4fQ1ab2C_${'aB3'.repeat(10)}cd_0Qz19X`,
  'eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJub2RlLW9mLWEtY2hhaW4ifQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ',
];
for (const token of TOKENS) {
  test(`nothing that holds a token is the URL of a node: ${token.slice(0, 8)}…`, () => {
    for (const spelled of [token, token.toLowerCase(), token.toUpperCase(), token.replace('y', '%79')]) {
      for (const host of [spelled, `a.${spelled}`, `${spelled}.example`]) {
        assert.equal(parseUpstream(`ws://${host}:7`), null);
        assert.equal(parsePublicUrl(`https://${host}/kv`), null);
      }
      for (const path of [spelled, `kv/${spelled}`, `${spelled}/`, `.${spelled}.x`]) {
        assert.equal(parsePublicUrl(`https://kv.example/${path}`), null);
      }
    }
  });
}
