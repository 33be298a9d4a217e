/** The token that a node shows to others stands nowhere, whatever the others answer. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import test, { type TestContext } from 'node:test';
import { type WebSocket, WebSocketServer } from 'ws';
import { newToken } from '../../src/access/token.ts';
import { createToken } from '../../src/access/tokens/tokens.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster } from '../support/cluster.ts';
import { RawReplica } from '../support/raw-replica.ts';

interface Echo {
  /** What the status says of the token; default: that there was one. */
  readonly said?: string;
  readonly upgrade: (server: WebSocketServer, request: IncomingMessage, socket: Duplex, head: Buffer) => void;
  readonly rest?: RequestListener;
}

/** Takes the WebSocket, and answers its first bytes. */
function answering(answer: (socket: WebSocket, authorization: string) => void): Echo {
  return {
    upgrade: (server, request, socket, head) =>
      server.handleUpgrade(request, socket, head, (ws) => {
        ws.on('error', () => undefined);
        ws.once('message', () => answer(ws, request.headers.authorization ?? ''));
      }),
  };
}

/** Masters that repeat what they were shown. */
const ECHOES: Readonly<Record<string, Echo>> = {
  refuses: {
    upgrade: (_server, { headers }, socket) => {
      const body = JSON.stringify({ detail: `${'x'.repeat(200)} you have shown ${headers.authorization}` });
      const head = `HTTP/1.1 401 Unauthorized\r\nContent-Length: ${body.length}\r\n\r\n`;
      socket.end(head + body);
    },
  },
  errs: answering((ws, shown) => ws.send(Buffer.from(`-NOAUTH ${shown}\r\n`))),
  // What is no line of the protocol is not repeated at all.
  babbles: {
    ...answering((ws, shown) => ws.send(Buffer.from(`${shown.slice(7)}\r\n`))),
    said: 'a line that is no answer',
  },
  leaves: answering((ws, shown) => ws.close(4401, shown.slice(7))),
};

async function echoing(t: TestContext, { upgrade, rest }: Echo): Promise<string> {
  const http = createServer(rest ?? ((_, response) => response.writeHead(404).end())).listen(0, '127.0.0.1');
  await once(http, 'listening');
  const server = new WebSocketServer({ noServer: true, handleProtocols: () => 'psync.v1' });
  http.on('upgrade', (request, socket, head) => {
    socket.on('error', () => undefined);
    upgrade(server, request, socket, head);
  });
  t.after(() => {
    for (const socket of server.clients) socket.terminate();
    server.close();
    http.close();
    http.closeAllConnections();
  });
  return `ws://127.0.0.1:${(http.address() as AddressInfo).port}`;
}

/** @returns the URL of a master that sends a snapshot without an end, and says that clients reach it at `url` */
function announcing(t: TestContext, url: string): Promise<string> {
  const lines = ['+PONG', '+OK', `+FULLRESYNC ${'a'.repeat(40)} 10 first-sync - ${url} -\r\n$1000`];
  return echoing(t, {
    upgrade: (server, request, socket, head) =>
      server.handleUpgrade(request, socket, head, (ws) => {
        ws.on('error', () => undefined);
        ws.on('message', () => {
          const line = lines.shift();
          if (line !== undefined) ws.send(Buffer.from(`${line}\r\n`));
        });
      }),
  });
}

const CLAIMS = Buffer.from('{"sub":"node-of-a-chain"}').toString('base64url');
const TOKENS = {
  psyncd: newToken().text,
  signed: `eyJhbGciOiJFZERTQSJ9.${CLAIMS}.${'s'.repeat(40)}`,
  other: 'a-token~of+another/service',
};

for (const [kind, token] of Object.entries(TOKENS)) {
  test(`a ${kind} token that a master repeats is neither in the log nor in the status nor in an error`, async (t) => {
    const cluster = await Cluster.create(t);
    const tokenFile = join(cluster.data('node'), '..', 'token');
    writeFileSync(tokenFile, token);
    // Without a list of its own it would take a master from nobody.
    const wanted = { name: 'admin', rights: ['admin'], prefixes: null, expiresAt: null };
    const admin = await createToken(join(cluster.data('node'), 'tokens.json'), wanted, Date.now());
    const authorization = `Bearer ${admin.text}`;
    const node = await cluster.start('node', '--upstream-token-file', tokenFile);
    // A short beginning of it names its form only.
    const secret = token.slice(0, 24);
    const follow = async (url: string): Promise<string> => {
      const response = await fetch(`${node.url}/v1/replication/upstream`, {
        method: 'PUT',
        headers: { authorization, 'content-type': 'application/json' },
        body: JSON.stringify({ url }),
      });
      return response.text();
    };
    for (const [how, echo] of Object.entries(ECHOES)) {
      const url = await echoing(t, echo);
      await follow(url);
      const text = await until(`${how}: the master has answered`, async () => {
        const status = await fetch(`${node.url}/v1/replication`, { headers: { authorization } });
        const answer = await status.text();
        return answer.includes(url) && answer.includes(echo.said ?? '[token]') ? answer : null;
      });
      assert.ok(!text.includes(secret), `${how}: ${text}`);
    }
    const above = await echoing(t, {
      ...(ECHOES.refuses as Echo),
      rest: (request, response) =>
        response.end(
          JSON.stringify({ nodeId: 'a'.repeat(40), upstream: { url: request.headers.authorization } }),
        ),
    });
    const error = await follow(above);
    assert.match(error, /"code":"BAD_PEER".*\[token\]/);
    assert.ok(!error.includes(secret), error);
    assert.ok(!node.log.includes(secret), node.log);
  });
}

test('a token in the words of a replica that leaves is not in the log, and not in the record of its session', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const replica = await RawReplica.connect(t, node);
  replica.say('PSYNC', '?', '-1');
  await replica.line();
  const secret = TOKENS.psyncd.slice(16);
  replica.socket.close(4000, `bye ${TOKENS.psyncd}`);
  const text = await until('it has left', async () => {
    const answer = await (await fetch(`${node.url}/v1/replication/sessions`)).text();
    return answer.includes('session-closed') ? answer : null;
  });
  assert.match(text, /bye \[token\]/);
  assert.ok(!text.includes(secret));
  assert.match(node.log, /bye \[token\]/);
  assert.ok(!node.log.includes(secret));
});

test('a token that a master repeats as its URL for clients is not taken for one, whatever form it has', async (t) => {
  const cluster = await Cluster.create(t);
  const tokens = [TOKENS.psyncd, TOKENS.signed, 'A-Token.of-another-service'];
  for (const [index, token] of tokens.entries()) {
    const name = `node${index}`;
    const tokenFile = join(cluster.data(name), '..', `${name}.token`);
    writeFileSync(tokenFile, token);
    for (const [form, url] of [
      ['path', `https://kv.example/x/${token}`],
      ['host', `ws://${token}:7`],
    ] as const) {
      const master = await announcing(t, url);
      const node = await cluster.start(
        `${name}${form}`,
        '--upstream-token-file',
        tokenFile,
        '--replica-of',
        master,
      );
      const status = await until('the snapshot has begun', async () => {
        const answer = await (await fetch(`${node.url}/v1/replication`)).text();
        return answer.includes('"state":"snapshot"') ? answer : null;
      });
      const write = { method: 'PUT', body: 'v', redirect: 'manual' } as const;
      const redirect = await fetch(`${node.url}/v1/keys/k`, write);
      const info = await (await fetch(`${node.url}/v1/info`)).text();
      const words = [status, await redirect.text(), redirect.headers.get('location'), info, node.log].join(
        '\n',
      );
      assert.ok(!words.toLowerCase().includes(token.toLowerCase()), `${form}: ${words}`);
    }
  }
});

test('a token that a replica announces as its URL stands nowhere', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const replica = await RawReplica.connect(t, node);
  replica.say('REPLCONF', 'listening-url', `ws://${TOKENS.psyncd}:7`, 'node-id', TOKENS.psyncd);
  assert.match(await replica.line(), /^-ERR listening-url is no URL/);
  replica.say('PSYNC', '?', '-1');
  await replica.line();
  const secret = TOKENS.psyncd.slice(16).toLowerCase();
  for (const path of ['/v1/replication', '/v1/replication/sessions', '/metrics', '/v1/info']) {
    const text = await (await fetch(node.url + path)).text();
    assert.ok(!text.toLowerCase().includes(secret), path);
  }
  assert.ok(!node.log.toLowerCase().includes(secret), node.log);
});

/** Colours, a line end, a C1 control, text from right to left, a separator of lines, half a character. */
const HARMFUL = '\u001b[31m\r\n\u0085\u202e\u2028\ud800';
const LONG = `${HARMFUL}${'y'.repeat(4_000)}`;

/** What a node shows or passes on of the words of another one: a part of them, on one line, without a character that a terminal obeys. */
function isShowable(text: string, what: string): void {
  assert.doesNotMatch(text, /[^\P{C}\n]|[\u2028\u2029]|(?<!\\)\\u(?:00[0189]|d800|2028|202e)/u, what);
  assert.doesNotMatch(text, /y{501}/, what);
}

test('harmful and long words of masters are shown in part and on one line, in the status, in errors and in the log', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--repl-timeout', '1s');
  const rest = (body: object): RequestListener => {
    return (_, response) => response.end(JSON.stringify({ nodeId: 'a'.repeat(40), ...body }));
  };
  const refuses: Echo['upgrade'] = (_server, _request, socket) => {
    const body = JSON.stringify({ detail: LONG });
    socket.end(`HTTP/1.1 403 Forbidden\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  };
  const masters: Readonly<Record<string, Echo>> = {
    refuses: { upgrade: refuses },
    errs: answering((ws) => ws.send(Buffer.from(`-ERR ${LONG.replaceAll(/[\r\n]/g, '')}\r\n`))),
    babbles: answering((ws) => ws.send(Buffer.from(`${LONG.replaceAll(/[\r\n]/g, '')}\r\n`))),
    leaves: answering((ws) => ws.close(4401, HARMFUL)),
    'follows something': { upgrade: refuses, rest: rest({ upstream: { url: `ws://${LONG}:7` } }) },
    'names something above': {
      upgrade: refuses,
      rest: rest({
        upstream: { url: 'ws://127.0.0.1:1' },
        masters: [{ url: `ws://${LONG}:7`, nodeId: LONG }],
      }),
    },
    'is somebody': {
      upgrade: refuses,
      rest: (_, response) => response.end(JSON.stringify({ nodeId: LONG, upstream: null })),
    },
  };
  for (const [how, echo] of Object.entries(masters)) {
    const url = await echoing(t, echo);
    const answer = await fetch(`${node.url}/v1/replication/upstream`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ url }),
    });
    isShowable(await answer.text(), how);
    if (answer.ok) {
      const status = await until(`${how}: the link says why`, async () => {
        const text = await (await fetch(`${node.url}/v1/replication?asked=${'b'.repeat(40)}`)).text();
        return /"detail":/.test(text) ? text : null;
      });
      isShowable(status, how);
    }
    isShowable(node.log, `${how}: log`);
  }
});

test('harmful words of a replica that leaves are shown on one line, in the log and in the record of its session', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const replica = await RawReplica.connect(t, node);
  replica.say('PSYNC', '?', '-1');
  await replica.line();
  replica.socket.close(4000, `bye${HARMFUL}`);
  const text = await until('it has left', async () => {
    const answer = await (await fetch(`${node.url}/v1/replication/sessions`)).text();
    return answer.includes('session-closed') ? answer : null;
  });
  isShowable(text, 'record');
  isShowable(node.log, 'log');
});
