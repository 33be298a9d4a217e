/** Schemas of `/v1/tokens`. */
import { RIGHTS } from '../../../access/right.ts';
import { MAX_NAME_LENGTH, MAX_SAN_LENGTH, MAX_TOKEN_PREFIXES } from '../../../access/tokens/token-list.ts';

/** The end of the year 9999. */
const MAX_TIME = 253_402_300_799_999;
const TIME = {
  type: 'integer',
  minimum: 0,
  maximum: MAX_TIME,
  description: 'Unix time in milliseconds.',
  examples: [1_790_000_000_000],
} as const;
const EXPIRES_AT = {
  ...TIME,
  type: ['integer', 'null'],
  description: 'Time from which the token is no longer valid, in milliseconds of Unix time; null: never.',
} as const;
const NAME = {
  type: 'string',
  minLength: 1,
  maxLength: MAX_NAME_LENGTH,
  description: 'What the token is for.',
  examples: ['backend'],
} as const;
const RIGHT_LIST = {
  type: 'array',
  minItems: 1,
  items: { type: 'string', enum: RIGHTS },
  description: '`admin` includes all other rights.',
  examples: [['read', 'write']],
} as const;
const PREFIX_LIST = {
  type: 'array',
  minItems: 1,
  maxItems: MAX_TOKEN_PREFIXES,
  items: { type: 'string', minLength: 1 },
  description: 'Beginnings of the keys that the token may read and write.',
  examples: [['user:']],
} as const;

const ID = {
  type: 'string',
  description: 'Public part of the token; logs name it.',
  examples: ['go5w2LUf'],
} as const;

const SAN = {
  type: 'string',
  minLength: 1,
  maxLength: MAX_SAN_LENGTH,
  description: 'URI or DNS name of the subject, else its common name.',
  examples: ['spiffe://cluster/backend'],
} as const;
const CERTIFICATE = {
  type: 'object',
  required: ['san'],
  properties: { san: SAN },
  description: 'Present if the owner shows a certificate instead of a token.',
} as const;

const EXAMPLE = {
  id: 'go5w2LUf',
  name: 'backend',
  rights: ['read', 'write'],
  prefixes: ['user:'],
  expiresAt: null,
  createdAt: 1_790_000_000_000,
} as const;

const MEMBERS = {
  id: ID,
  name: NAME,
  rights: RIGHT_LIST,
  prefixes: {
    ...PREFIX_LIST,
    type: ['array', 'null'],
    description: `${PREFIX_LIST.description} null: all keys.`,
  },
  expiresAt: EXPIRES_AT,
  createdAt: TIME,
} as const;

export const tokenList = {
  $id: 'TokenList',
  examples: [{ tokens: [EXAMPLE] }],
  type: 'object',
  required: ['tokens'],
  properties: {
    tokens: {
      type: 'array',
      items: {
        type: 'object',
        required: ['id', 'name', 'rights', 'prefixes', 'expiresAt', 'createdAt'],
        properties: {
          ...MEMBERS,
          certificate: CERTIFICATE,
        },
      },
      description: 'In the order in which they were made. The tokens themselves are kept nowhere.',
    },
  },
} as const;

export const tokenRequest = {
  $id: 'TokenRequest',
  examples: [{ name: 'backend', rights: ['read', 'write'], prefixes: ['user:'] }],
  type: 'object',
  required: ['name', 'rights'],
  additionalProperties: false,
  properties: {
    name: NAME,
    rights: RIGHT_LIST,
    prefixes: { ...PREFIX_LIST, description: `${PREFIX_LIST.description} Without it, all keys.` },
    expiresAt: {
      ...TIME,
      description:
        'Time from which the token is no longer valid, in milliseconds of Unix time. Without it, never.',
    },
    certificate: {
      ...CERTIFICATE,
      additionalProperties: false,
      description:
        'Its owner gets the rights, and shows the certificate instead of a token. Nothing secret is made then.',
    },
  },
} as const;

export const createdToken = {
  $id: 'CreatedToken',
  examples: [{ ...EXAMPLE, token: 'psyncd_go5w2LUf_itMJw3GnSKD7FcbbkIjWeOFLA7XhcSE4_4FS7vH' }],
  type: 'object',
  required: ['id', 'name', 'rights', 'prefixes', 'expiresAt', 'createdAt'],
  properties: {
    ...MEMBERS,
    token: {
      type: 'string',
      description: 'The token itself; absent for a certificate. It is shown here and never again.',
    },
    certificate: CERTIFICATE,
  },
} as const;

export const revokedToken = {
  $id: 'RevokedToken',
  examples: [{ id: 'go5w2LUf', revoked: true }],
  type: 'object',
  required: ['id', 'revoked'],
  properties: { id: ID, revoked: { type: 'boolean', const: true } },
} as const;
