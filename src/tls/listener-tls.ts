/**
 * TLS of the node's listener: its certificate, its key and the CAs of its clients, read again when the files change. New
 * connections get the new ones, open connections go on. A pair that cannot be used changes nothing, and so do CAs that cannot be used.
 *
 * `fs.watch` misses files that are exchanged by a rename or through a symbolic link, as secrets in containers are, so the
 * identities of the files are polled.
 */
import type { X509Certificate } from 'node:crypto';
import { stat } from 'node:fs/promises';
import type { Socket } from 'node:net';
import type { Server, TLSSocket, TlsOptions } from 'node:tls';
import { clientOf } from '../access/address.ts';
import { Buckets } from '../access/buckets.ts';
import { Tally } from '../node/ports/counts.ts';
import { messageOf } from '../node/ports/failures.ts';
import type { Log, World } from '../node/ports/world.ts';
import { logUnexpected, unattended } from '../node/unattended.ts';
import { belowTls } from '../runtime/below-tls.ts';
import { isValid } from './client-cas.ts';
import { ClientConnections, type Identified } from './client-connections.ts';
import { ExpiryWarning } from './expiry-warning.ts';
import { Handshakes } from './handshakes.ts';
import {
  contextOf,
  filesOf,
  isSame,
  type ListenerFiles,
  type ListenerTlsSettings,
  readListenerCas,
  readListenerFiles,
  readServerPair,
} from './listener-files.ts';

/** How often the node looks whether its certificate expires, in milliseconds. */
const EXPIRY_LOOK_MS = 3_600_000;
/** How often the node looks whether certificates of clients have expired, in milliseconds. */
const CLIENTS_LOOK_MS = 1_000;
/** Number of different failures that are remembered, so that each is logged once. */
const MAX_TOLD = 100;
/** Lines of the log about refused certificates, for each client: at once, and later in a minute. */
const REFUSALS_LOGGED = 5;

export class ListenerTls {
  /** How often changed files were taken over, and could not be used, since the start. */
  readonly reloads = new Tally<'used' | 'failed'>();
  readonly #clients: ClientConnections;
  readonly #settings: ListenerTlsSettings;
  readonly #world: World;
  readonly #log: Log;
  readonly #warning: ExpiryWarning;
  readonly #refusals: Buckets;
  readonly #handshakes: Handshakes;
  #files: ListenerFiles;
  /** Those of the files' CAs that were valid at the last look. */
  #validCas: readonly X509Certificate[];
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
    this.#validCas = this.#casValidNow();
    this.#handshakes = new Handshakes(world);
    this.#warning = new ExpiryWarning(log, settings.tlsCert);
    this.#refusals = new Buckets(REFUSALS_LOGGED / 60, REFUSALS_LOGGED, world.monotonic);
    this.#clients = new ClientConnections(world);
  }

  /** The certificate that new connections get. */
  get certificate(): X509Certificate {
    return this.#files.pair.certificate;
  }

  /** For `https.createServer`. */
  get options(): TlsOptions {
    const { tlsClientAuth } = this.#settings;
    return {
      ...contextOf(this.#settings, this.#files),
      requestCert: tlsClientAuth !== 'no',
      // Node would also refuse clients without a certificate.
      rejectUnauthorized: tlsClientAuth === 'required',
    };
  }

  /** Exchanges the certificate of this server, too. @param server made with `options` */
  serve(server: Server): void {
    this.#servers.push(server);
    // Before Node's own listener, which begins the handshake.
    server.prependListener('connection', (socket: Socket) => {
      this.#handshakes.add(socket);
    });
    server.on('secureConnection', (socket) => this.#secured(socket));
    server.on('tlsClientError', (_error, socket) => {
      if (socket.authorizationError) this.#refused(socket.authorizationError, addressBelow(socket));
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

  /** Ends the connections whose handshakes are not over: Node's server knows only of the others. */
  endHandshakes(): void {
    this.#handshakes.endAll();
  }

  stop(): void {
    this.#isStopped = true;
    for (const cancel of this.#cancel) cancel();
  }

  /** Reads the files now. What cannot be used stays as it was: the pair, or the CAs of clients. */
  reload(): Promise<void> {
    const done = this.#loading.then(() => this.#reload());
    this.#loading = done;
    return done;
  }

  async #reload(): Promise<void> {
    const seen = await this.#look();
    const before = this.#files;
    const pair = this.#tried(() => readServerPair(this.#settings, this.#world.now()));
    const clientCas = this.#tried(() => readListenerCas(this.#settings));
    const files = {
      pair: pair === undefined ? before.pair : pair,
      clientCas: clientCas === undefined ? before.clientCas : clientCas,
    };
    if (!isSame(files, before) && this.#tried(() => this.#use(files)) === undefined) return;
    if (pair !== undefined && clientCas !== undefined) {
      this.#seen = seen;
      this.#told.clear();
    }
    const now = new Set(files.clientCas?.certificates.map(({ fingerprint256 }) => fingerprint256));
    const isRemoved = before.clientCas?.certificates.some(({ fingerprint256 }) => !now.has(fingerprint256));
    if (isRemoved) await this.#endUntrusted();
  }

  /** @returns undefined: it has thrown, and the log says why, once */
  #tried<Result>(what: () => Result): Result | undefined {
    try {
      return what();
    } catch (error) {
      const message = messageOf(error);
      if (this.#told.size >= MAX_TOLD) this.#told.clear();
      if (!this.#told.has(message)) this.#log.error('tls-not-reloaded', { error: message });
      this.#told.add(message);
      this.reloads.add('failed');
      return undefined;
    }
  }

  #use(files: ListenerFiles): true {
    const context = contextOf(this.#settings, files);
    for (const server of this.#servers) server.setSecureContext(context);
    this.#files = files;
    this.reloads.add('used');
    this.#validCas = this.#casValidNow();
    const { certificate } = files.pair;
    this.#log.info('tls-reloaded', {
      validTo: certificate.validToDate.toISOString(),
      fingerprint: certificate.fingerprint256,
      clientCas: files.clientCas?.certificates.length ?? 0,
    });
    this.#warning.look(certificate, this.#world.now());
    return true;
  }

  /** Ends the connections of clients that could not connect now, also those that have not shown their certificates yet. */
  async #endUntrusted(): Promise<void> {
    this.#handshakes.endAll();
    await this.#clients.recheck(this.#validCas);
  }

  #casValidNow(): readonly X509Certificate[] {
    const now = this.#world.now();
    return this.#files.clientCas?.certificates.filter((ca) => isValid(ca, now)) ?? [];
  }

  #secured(socket: TLSSocket): void {
    this.#handshakes.finish(socket);
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
    if (!this.#refusals.take(clientOf(address)).allowed) return;
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
    const before = this.#validCas;
    this.#validCas = this.#casValidNow();
    if (before.some((ca) => !this.#validCas.includes(ca))) {
      unattended(this.#endUntrusted(), (error) => logUnexpected(this.#log, 'tls', error));
    }
    this.#later(CLIENTS_LOOK_MS, () => this.#endExpiredLater());
  }

  #warnLater(): void {
    this.#warning.look(this.certificate, this.#world.now());
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

/** @returns the address of the client, also when the TLS of the connection has ended: then only the socket below still has it */
function addressBelow(socket: TLSSocket): string | undefined {
  return socket.remoteAddress ?? belowTls(socket)?.remoteAddress;
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
