/** Settings for tokens, signed tokens, and what one client may do. They stay while the node runs. */
import { filled, keySet, parseRate, rights } from '../parse.ts';
import { COUNT, count, FIXED, type Setting, time } from '../setting.ts';

export const ACCESS = {
  /** null: `tokens.json` in the data folder. */
  tokensFile: {
    placeholder: 'FILE',
    initial: null,
    parse: filled,
    help: 'the tokens that clients need, as psyncd token makes them (default: tokens.json in the data folder, if it is there)',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  anonymousRights: {
    placeholder: 'RIGHTS',
    initial: '',
    parse: rights,
    isList: true,
    help: 'on a node with tokens: what a request without one may do, of read, write, replicate, metrics, admin, separated by commas',
    isLive: false,
    schema: { type: 'array', items: { type: 'string' }, description: FIXED },
  },
  authFailures: {
    ...count('10', '1', '1000000'),
    help: 'tokens that are not valid which one address may show in a minute; then it has to wait (429)',
    isLive: false,
    schema: { ...COUNT, description: FIXED },
  },
  /** Requests a second; 0: no limit. */
  rateLimit: {
    placeholder: 'N/s',
    initial: '0',
    parse: parseRate,
    help:
      'requests that one token, or one address without a token, may send in a second, such as 100/s; more get 429. ' +
      '/healthz, /readyz and preflights do not count. 0: no limit',
    isLive: false,
    schema: { ...COUNT, description: `Requests a second; 0: no limit. ${FIXED}` },
  },
  maxConnectionsPerToken: {
    ...count('0', '0', '1000000'),
    help:
      'largest number of connections of one token, or of one address without a token, at the same time; the node closes more ' +
      '(429). 0: no limit but --max-connections',
    isLive: false,
    schema: { ...COUNT, description: `0: no limit but that of all connections. ${FIXED}` },
  },
  maxFollowersPerToken: {
    ...count('0', '0', '1000000'),
    help:
      'largest number of followers of /v1/changes of one token, or of one address without a token, at the same time; the node ' +
      'refuses more. 0: no limit but --max-followers',
    isLive: false,
    schema: { ...COUNT, description: `0: no limit but that of all followers. ${FIXED}` },
  },
  jwtJwks: {
    placeholder: 'URL|FILE',
    initial: null,
    parse: keySet,
    help: 'JWKS with the public keys of signed tokens (JWT) that clients may show: an https URL or a file',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  jwtKeyFile: {
    placeholder: 'FILE',
    initial: null,
    parse: filled,
    help: 'key of signed tokens (JWT) that clients may show: public keys as PEM, or a JWK; a symmetric JWK is for HS256',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  jwtAudience: {
    placeholder: 'NAME',
    initial: null,
    parse: filled,
    help: 'what the claim "aud" of a JWT must name; needed with --jwt-jwks and with --jwt-key-file',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  jwtIssuer: {
    placeholder: 'NAME',
    initial: null,
    parse: filled,
    help: 'what the claim "iss" of a JWT must be (default: anything)',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  jwtMaxAge: {
    ...time('24h', '1s', '8760h'),
    help: 'longest life of a JWT; the node refuses one that lives longer, because it cannot be revoked',
    idleWithout: ['jwtJwks', 'jwtKeyFile'],
    isLive: false,
    schema: { ...COUNT, description: `Milliseconds. ${FIXED}` },
  },
  /** Read again for each connection, so that a token can be exchanged without a restart. */
  upstreamTokenFile: {
    placeholder: 'FILE',
    initial: null,
    parse: filled,
    help: 'file with the token that this node shows to its master; read again for each connection, and once a second while the node follows',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
} as const satisfies Readonly<Record<string, Setting>>;
