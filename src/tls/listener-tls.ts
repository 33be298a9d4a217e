/**
 * TLS of the node's listener: its certificate, its key and the CAs of its clients, read again when the files change. New
 * connections get the new ones, open connections go on. Files that cannot be used change nothing.
 *
 * `fs.watch` misses files that are exchanged by a rename or through a symbolic link, as secrets in containers are, so the
 * identities of the files are polled.
 */
import type { X509Certificate } from 'node:crypto';
import { stat } from 'node:fs/promises';
import type { Socket } from 'node:net';
import type { Server, TLSSocket, TlsOptions } from 'node:tls';
import { Buckets } from '../access/buckets.ts';
import type { Log, World } from '../node/ports/world.ts';
import { logUnexpected, messageOf, unattended } from '../node/unattended.ts';
import { ClientConnections, type Identified } from './client-connections.ts';
import { ExpiryWarning } from './expiry-warning.ts';
import {
  filesOf,
  type ListenerFiles,
  type ListenerTlsSettings,
  readListenerFiles,
} from './listener-files.ts';

/** Time for a whole handshake, in milliseconds. Node's own time-out begins anew with each byte. */
const HANDSHAKE_MS = 10_000;
/** How often the node looks whether its certificate expires, in milliseconds. */
const EXPIRY_LOOK_MS = 3_600_000;
/** How often the node looks whether certificates of clients have expired, in milliseconds. */
const CLIENTS_LOOK_MS = 1_000;
/** Number of different failures that are remembered, so that each is logged once. */
const MAX_TOLD = 100;
/** Lines of the log about refused certificates, for each address: at once, and later in a minute. */
const REFUSALS_LOGGED = 5;

export class ListenerTls {
  readonly #clients: ClientConnections;
  readonly #settings: ListenerTlsSettings;
  readonly #world: World;
  readonly #log: Log;
  readonly #warning: ExpiryWarning;
  readonly #refusals: Buckets;
  /** What cancels the time-outs of the handshakes under way, by the addresses of the connection. */
  readonly #handshakes = new Map<string, () => void>();
  /** Connections of any state, for `closeAll`. */
  readonly #sockets = new Set<Socket>();
  #files: ListenerFiles;
  readonly #servers: Server[] = [];
  /** Identities of the files that are in use. */
  #seen = '';
  readonly #told = new Set<string>();
  #loading: Promise<unknown> = Promise.resolve();
  #isStopped = false;
  readonly #cancel = new Set<() => void>();

  /** @throws TlsFileError if a file cannot be used */
  constructor(settings: ListenerTlsSettings, world: World, log: Log) {
    this.#settings = settings;
    this.#world = world;
    this.#log = log;
    this.#files = readListenerFiles(settings, world.now());
    this.#warning = new ExpiryWarning(log, settings.tlsCert);
    this.#refusals = new Buckets(REFUSALS_LOGGED / 60, REFUSALS_LOGGED, world.monotonic);
    this.#clients = new ClientConnections(world);
  }

  /** The certificate that new connections get. */
  get certificate(): X509Certificate {
    return this.#files.certificate;
  }

  /** For `https.createServer`. */
  get options(): TlsOptions {
    const { tlsClientAuth } = this.#settings;
    return {
      ...this.#files.context,
      requestCert: tlsClientAuth !== 'no',
      // Node would also refuse clients without a certificate.
      rejectUnauthorized: tlsClientAuth === 'required',
    };
  }

  /** Exchanges the certificate of this server, too. @param server made with `options` */
  serve(server: Server): void {
    this.#servers.push(server);
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      const ended = this.#limitHandshake(socket);
      socket.once('close', () => {
        this.#sockets.delete(socket);
        ended();
      });
    });
    server.on('secureConnection', (socket) => this.#secured(socket));
    server.on('tlsClientError', (_error, { authorizationError, remoteAddress }) => {
      if (authorizationError) this.#refused(authorizationError, remoteAddress);
    });
  }

  /** Begins to look at the files. @param identified gets each connection with the names of its client's certificate */
  async start(identified: Identified): Promise<void> {
    this.#clients.onIdentified(identified);
    // What has changed since the constructor has read the files is noticed at the first look.
    this.#seen = await this.#look();
    this.#warnLater();
    if (this.#settings.tlsClientAuth !== 'no') this.#endExpiredLater();
    if (this.#settings.tlsReloadInterval > 0) this.#lookLater();
    unattended(this.reload(), (error) => logUnexpected(this.#log, 'tls', error));
  }

  /** Ends all connections, also those whose handshakes are not over. */
  closeAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  stop(): void {
    this.#isStopped = true;
    for (const cancel of this.#cancel) cancel();
  }

  /** Reads the files now. If they cannot be used, everything stays as it was. */
  reload(): Promise<void> {
    const done = this.#loading.then(() => this.#reload());
    this.#loading = done;
    return done;
  }

  async #reload(): Promise<void> {
    try {
      const seen = await this.#look();
      const files = readListenerFiles(this.#settings, this.#world.now());
      if (files.digest !== this.#files.digest) await this.#use(files);
      this.#seen = seen;
      this.#told.clear();
    } catch (error) {
      const message = messageOf(error);
      if (this.#told.size >= MAX_TOLD) this.#told.clear();
      if (!this.#told.has(message)) this.#log.error('tls-not-reloaded', { error: message });
      this.#told.add(message);
    }
  }

  async #use(files: ListenerFiles): Promise<void> {
    const before = this.#files;
    for (const server of this.#servers) server.setSecureContext(files.context);
    this.#files = files;
    this.#log.info('tls-reloaded', {
      validTo: files.certificate.validToDate.toISOString(),
      fingerprint: files.certificate.fingerprint256,
    });
    this.#warning.look(files.certificate, this.#world.now());
    const now = new Set(files.clientCas.map(({ fingerprint256 }) => fingerprint256));
    const isRemoved = before.clientCas.some(({ fingerprint256 }) => !now.has(fingerprint256));
    if (isRemoved) await this.#clients.recheck(files.clientCas);
  }

  /** @returns a function to call when the connection has ended */
  #limitHandshake(socket: Socket): () => void {
    const addresses = addressesOf(socket);
    const cancel = this.#world.after(HANDSHAKE_MS, () => socket.destroy());
    this.#handshakes.set(addresses, cancel);
    return () => {
      cancel();
      if (this.#handshakes.get(addresses) === cancel) this.#handshakes.delete(addresses);
    };
  }

  #secured(socket: TLSSocket): void {
    const addresses = addressesOf(socket);
    this.#handshakes.get(addresses)?.();
    this.#handshakes.delete(addresses);
    if (this.#settings.tlsClientAuth === 'no') return;
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined) return;
    if (socket.authorized) this.#clients.add(socket, certificate);
    else {
      this.#refused(socket.authorizationError, socket.remoteAddress);
      socket.destroy();
    }
  }

  #refused(reason: unknown, address = ''): void {
    if (!this.#refusals.take(address).allowed) return;
    this.#log.warn('tls-client-refused', { reason: messageOf(reason), address });
  }

  #lookLater(): void {
    this.#later(this.#settings.tlsReloadInterval, () => {
      unattended(
        this.#lookAgain().finally(() => this.#lookLater()),
        (error) => logUnexpected(this.#log, 'tls', error),
      );
    });
  }

  async #lookAgain(): Promise<void> {
    if ((await this.#look()) !== this.#seen) await this.reload();
  }

  #endExpiredLater(): void {
    this.#clients.endExpired(this.#world.now());
    this.#later(CLIENTS_LOOK_MS, () => this.#endExpiredLater());
  }

  #warnLater(): void {
    this.#warning.look(this.#files.certificate, this.#world.now());
    this.#later(EXPIRY_LOOK_MS, () => this.#warnLater());
  }

  #later(ms: number, callback: () => void): void {
    if (this.#isStopped) return;
    const cancel = this.#world.after(ms, () => {
      this.#cancel.delete(cancel);
      callback();
    });
    this.#cancel.add(cancel);
  }

  /** @returns what tells one state of the files from another */
  async #look(): Promise<string> {
    const files = filesOf(this.#settings).filter((file) => file !== null);
    return (await Promise.all(files.map(({ path }) => identityOf(path)))).join(' ');
  }
}

/** The same for a connection and for the TLS on it. */
function addressesOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}

/** Identity of the file behind all symbolic links. */
async function identityOf(path: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeMs, ctimeMs } = await stat(path);
    return `${dev}:${ino}:${size}:${mtimeMs}:${ctimeMs}`;
  } catch (error) {
    return `${(error as NodeJS.ErrnoException).code}`;
  }
}
