/** Three nodes with certificates and tokens: everything that lets them in is exchanged under writers, and nothing is lost. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { addCertificate, createToken, revokeToken } from '../../src/access/tokens/tokens.ts';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { AdminClient } from '../../src/client/admin/admin-client.ts';
import { nodeTransport } from '../../src/client-node/transport.ts';
import { Certificates, type Pair, replaceFile, tlsFlags } from '../support/certificates.ts';
import { Cluster } from '../support/cluster.ts';
import { tlsConnected, tlsOptions } from '../support/tls-call.ts';

const NAMES = ['one', 'two', 'three'] as const;
const WRITERS = 3;

/** The files of a node, which are exchanged while it runs. */
interface Files {
  readonly server: Pair;
  readonly peer: Pair;
}

class Stage {
  readonly cluster: Cluster;
  readonly certificates: Certificates;
  /** CAs that the nodes trust. */
  readonly trusted: string;
  /** The list of tokens and certificates of all nodes. */
  readonly list: string;
  /** The token that nodes show to each other. */
  readonly tokenFile: string;
  readonly files = new Map<string, Files>();
  nodes: readonly ChildNode[] = [];
  /** Certificate of the writers and of this test. */
  #own: Pair;

  private constructor(cluster: Cluster, certificates: Certificates) {
    this.cluster = cluster;
    this.certificates = certificates;
    this.trusted = certificates.bundle('trusted', certificates.path('ca.crt'));
    this.list = join(certificates.folder, 'tokens.json');
    this.tokenFile = join(certificates.folder, 'token');
    this.#own = certificates.make('boss-ca', { san: 'URI:psyncd:boss' });
    for (const name of NAMES) {
      this.files.set(name, {
        server: certificates.copy(certificates.make(`${name}-ca`), name),
        peer: certificates.copy(certificates.make(`peer-${name}-ca`, { san: null }), `peer-${name}`),
      });
    }
  }

  static async create(t: TestContext): Promise<Stage> {
    return new Stage(await Cluster.create(t), await Certificates.create(t));
  }

  async start(name: string, ...flags: readonly string[]): Promise<ChildNode> {
    const { server, peer } = this.files.get(name) as Files;
    return this.cluster.start(
      name,
      ...tlsFlags(server),
      ...['--tls-client-ca', this.trusted, '--tls-client-auth', 'required', '--tls-reload-interval', '20ms'],
      ...['--upstream-ca', this.trusted, '--upstream-ca-only'],
      ...['--upstream-cert', peer.cert, '--upstream-key', peer.key],
      ...['--tokens-file', this.list, '--upstream-token-file', this.tokenFile],
      ...['--backlog-size', '16mb'],
      ...flags,
    );
  }

  /** A client with the certificate of this test, which trusts every CA that there is. */
  client({ url }: ChildNode, pair = this.#own): AdminClient {
    const cas = ['ca', 'ca2'].map((name) => {
      try {
        return readFileSync(this.certificates.path(`${name}.crt`));
      } catch {
        return Buffer.alloc(0);
      }
    });
    const [cert, key] = [readFileSync(pair.cert), readFileSync(pair.key)];
    return new AdminClient(url, { transport: nodeTransport({ ca: Buffer.concat(cas), cert, key }) });
  }

  /** Waits until every link streams and all nodes are at the same position. */
  async streaming(): Promise<void> {
    await until('every link streams', async () => {
      const states = await Promise.all(this.nodes.map((node) => this.client(node).replication()));
      const links = states.filter(({ upstream }) => upstream !== null);
      return (
        links.length === this.nodes.length - 1 &&
        links.every(({ upstream }) => upstream?.state === 'streaming')
      );
    });
  }

  async resyncs(): Promise<{ full: number; partial: number }> {
    const states = await Promise.all(this.nodes.map((node) => this.client(node).replication()));
    return {
      full: states.reduce((sum, { counters }) => sum + counters.syncFull, 0),
      partial: states.reduce((sum, { counters }) => sum + counters.syncPartialOk, 0),
    };
  }

  /** Makes a second CA and exchanges all certificates for its own, and then forgets the first one. */
  async exchangeCa(): Promise<void> {
    const { certificates, nodes } = this;
    certificates.ca('ca2');
    const own = certificates.make('boss-ca2', { ca: 'ca2', san: 'URI:psyncd:boss' });
    certificates.bundle('trusted', certificates.path('ca.crt'), certificates.path('ca2.crt'));
    for (const node of nodes) await until('the second CA is known', () => this.#letsIn(node, own));
    this.#own = own;
    for (const [index, name] of NAMES.entries()) {
      const { server, peer } = this.files.get(name) as Files;
      certificates.replace(peer, certificates.make(`peer-${name}-ca2`, { ca: 'ca2', san: null }));
      certificates.replace(server, certificates.make(`${name}-ca2`, { ca: 'ca2' }));
      const node = nodes[index] as ChildNode;
      await until('the new certificate is used', async () => (await this.#issuerOf(node)) === 'ca2');
    }
    const before = await this.resyncs();
    certificates.bundle('trusted', certificates.path('ca2.crt'));
    await until('both links were cut and are back', async () => {
      return (await this.resyncs()).partial >= before.partial + nodes.length - 1;
    });
  }

  async exchangeToken(before: string): Promise<void> {
    const { text } = await createToken(this.list, REPLICATE, Date.now());
    replaceFile(this.tokenFile, text);
    const resyncs = await this.resyncs();
    await revokeToken(this.list, before);
    await until('both links were cut and are back', async () => {
      return (await this.resyncs()).partial >= resyncs.partial + this.nodes.length - 1;
    });
  }

  #letsIn(node: ChildNode, pair: Pair): Promise<boolean> {
    return this.client(node, pair)
      .replication()
      .then(
        () => true,
        () => false,
      );
  }

  async #issuerOf(node: ChildNode): Promise<string> {
    const identity = {
      ca: this.certificates.bundle(
        'both',
        ...['ca', 'ca2'].map((name) => this.certificates.path(`${name}.crt`)),
      ),
      pair: this.#own,
    };
    const socket = await tlsConnected(node.port, tlsOptions(identity));
    const { CN } = socket.getPeerCertificate().issuer;
    socket.destroy();
    return String(CN);
  }
}

const REPLICATE = { name: 'nodes', rights: ['replicate'], prefixes: null, expiresAt: null };

/** Writes one entry after the other until it is stopped. @returns keys whose writes were answered */
async function write(name: string, stage: Stage, isOver: () => boolean): Promise<readonly string[]> {
  const answered: string[] = [];
  for (let count = 0; !isOver(); count += 1) {
    const key = `${name}-${count}`;
    const node = stage.nodes[count % stage.nodes.length] as ChildNode;
    // In a hand-over and while connections are cut a write may fail; then it counts as not written.
    const isWritten = await stage
      .client(node)
      .set(key, name)
      .then(
        () => true,
        () => false,
      );
    if (isWritten) answered.push(key);
  }
  return answered;
}

test('a chain with certificates and tokens hands over and has CA, certificates and token exchanged, without a full resync', async (t) => {
  const stage = await Stage.create(t);
  const { record, text } = await createToken(stage.list, REPLICATE, Date.now());
  replaceFile(stage.tokenFile, text);
  const admin = { name: 'boss', rights: ['admin'], prefixes: null, expiresAt: null };
  await addCertificate(stage.list, admin, 'psyncd:boss', Date.now());
  const one = await stage.start('one');
  const two = await stage.start('two', '--replica-of', one.wsUrl);
  const three = await stage.start('three', '--replica-of', two.wsUrl);
  stage.nodes = [one, two, three];
  await stage.streaming();
  const { full } = await stage.resyncs();

  let isOver = false;
  const writers = Array.from({ length: WRITERS }, (_, index) => write(`w${index}`, stage, () => isOver));
  const { master } = await stage.client(one).failover(two.wsUrl);
  assert.equal(master, two.wsUrl);
  await stage.streaming();
  await stage.exchangeCa();
  await stage.exchangeToken(record.id);
  isOver = true;
  const answered = (await Promise.all(writers)).flat();
  await stage.streaming();

  assert.equal((await stage.resyncs()).full, full);
  assert.ok(answered.length > 0);
  const digests = await until('all nodes tell the same digest', async () => {
    const all = await Promise.all(stage.nodes.map((node) => stage.client(node).digest()));
    return new Set(all.map((digest) => JSON.stringify(digest))).size === 1 && all;
  });
  assert.ok((digests[0]?.keys ?? 0) >= answered.length);
  for (const node of stage.nodes) {
    const { lines } = await stage.client(node).export();
    const keys = new Set<string>();
    for (const line of (await new Response(lines).text()).split('\n')) {
      if (line !== '') keys.add((JSON.parse(line) as { key: string }).key);
    }
    assert.deepEqual(
      answered.filter((key) => !keys.has(key)),
      [],
    );
  }
});
