/** Where a node listens, and the URLs under which it is reached. */
import type { Servers } from './http/servers.ts';
import type { Node } from './node/node.ts';
import { cannotListen } from './runtime/port-check.ts';
import { formatAddress } from './settings/parse.ts';
import type { Settings } from './settings/table.ts';

/** Where the node is reached; null: there is no such listener. */
export interface Listened {
  /** Of the main listener. */
  readonly port: number;
  readonly adminUrl: string | null;
  readonly metricsUrl: string | null;
}

/** @throws StartError that names the address where the node cannot listen; then everything is closed */
export async function listen(servers: Servers, settings: Settings, node: Node): Promise<Listened> {
  const { host, port, adminListen, maxConnections, metricsListen } = settings;
  let [tried, flag] = [{ host, port }, '--port'];
  const urlOf = async (
    address: Settings['adminListen'],
    name: string,
    begin: (host: string, port: number) => Promise<number>,
  ): Promise<string | null> => {
    if (address === null) return null;
    [tried, flag] = [address, name];
    return reachedUrl(settings, address.host, await begin(address.host, address.port));
  };
  try {
    return {
      port: await servers.main.listen(host, port, maxConnections),
      adminUrl: await urlOf(adminListen, '--admin-listen', (...at) => servers.listenForAdmins(...at)),
      metricsUrl: await urlOf(metricsListen, '--metrics-listen', (...at) => servers.listenForMetrics(...at)),
    };
  } catch (error) {
    await Promise.all([servers.close(), node.close()]);
    throw cannotListen(error, tried.host, tried.port, flag);
  }
}

/** @returns `http://HOST:PORT`, or `https://` with TLS */
export function httpUrl({ tlsCert }: Settings, host: string, port: number): string {
  return `${tlsCert === null ? 'http' : 'https'}://${formatAddress({ host, port })}`;
}

/** An address on the machine itself for the ones that mean all of them: as a `Host` a node refuses those. */
const ALL_ADDRESSES: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' };

/** @returns the URL by which somebody on this machine reaches what listens at an address */
export function reachedUrl(settings: Settings, host: string, port: number): string {
  return httpUrl(settings, ALL_ADDRESSES[host] ?? host, port);
}

/** Whether other nodes reach this one over TLS, or it follows its master over TLS. */
export function usesTls({ announceUrl, replicaOf, tlsCert }: Settings): boolean {
  return tlsCert !== null || [announceUrl, replicaOf].some((url) => url?.startsWith('wss:') === true);
}

/** @returns the URL under which other nodes reach this one, `ws://HOST:PORT`, or `wss://` with TLS */
export function listeningUrl(settings: Settings, port: number): string {
  return settings.announceUrl ?? httpUrl(settings, settings.host, port).replace(/^http/, 'ws');
}
