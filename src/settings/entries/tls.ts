/** Settings for TLS, for clients and for connections to a master. They stay while the node runs. */
import { filled, oneOf } from '../parse.ts';
import { COUNT, FIXED, type Setting, time, toggle } from '../setting.ts';

const TLS_CLIENT_AUTH = ['no', 'optional', 'required'] as const;
const TLS_VERSIONS = ['1.2', '1.3'] as const;

export const TLS = {
  /** Read again for each connection, like the certificate and the key. */
  upstreamCa: {
    placeholder: 'FILE',
    initial: null,
    parse: filled,
    help: 'PEM file with the CAs of masters at wss:// URLs, beside those of the system; read again for each connection',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  upstreamCaOnly: {
    ...toggle(),
    needs: ['upstreamCa'],
    help: 'trust only the CAs in --upstream-ca, not those of the system',
    isLive: false,
    schema: { type: 'boolean', description: FIXED },
  },
  upstreamCert: {
    placeholder: 'FILE',
    initial: null,
    parse: filled,
    needs: ['upstreamKey'],
    help: 'PEM file with the certificate that this node shows to its master; read again for each connection',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  upstreamKey: {
    placeholder: 'FILE',
    initial: null,
    parse: filled,
    needs: ['upstreamCert'],
    help: 'PEM file with the key of --upstream-cert, without a pass phrase',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  tlsCert: {
    placeholder: 'FILE',
    initial: null,
    parse: filled,
    needs: ['tlsKey'],
    help: 'PEM file with the certificate of this node and those between it and its CA: the node then takes only https and wss',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  tlsKey: {
    placeholder: 'FILE',
    initial: null,
    parse: filled,
    needs: ['tlsCert'],
    help: 'PEM file with the key of --tls-cert, without a pass phrase',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  tlsClientCa: {
    placeholder: 'FILE',
    initial: null,
    parse: filled,
    needs: ['tlsCert', 'tlsClientAuth'],
    help: 'PEM file with the CAs that sign the certificates of clients and replicas',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  tlsClientAuth: {
    placeholder: 'WHO',
    initial: 'no',
    parse: oneOf(...TLS_CLIENT_AUTH),
    needs: ['tlsClientCa'],
    help: 'whether clients show a certificate that --tls-client-ca has signed: no, optional, required',
    isLive: false,
    schema: { type: 'string', enum: TLS_CLIENT_AUTH, description: FIXED },
  },
  tlsMinVersion: {
    placeholder: 'VERSION',
    initial: '1.2',
    parse: oneOf(...TLS_VERSIONS),
    help: 'oldest version of TLS that the node speaks: 1.2 or 1.3',
    idleWithout: ['tlsCert'],
    isLive: false,
    schema: { type: 'string', enum: TLS_VERSIONS, description: FIXED },
  },
  tlsReloadInterval: {
    ...time('1m', '0', '24h'),
    help: 'how often the node looks whether the files for TLS have changed; it also looks on SIGHUP. 0: on SIGHUP only',
    idleWithout: ['tlsCert'],
    isLive: false,
    schema: { ...COUNT, description: `Milliseconds; 0: on SIGHUP only. ${FIXED}` },
  },
} as const satisfies Readonly<Record<string, Setting>>;
