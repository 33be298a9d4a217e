/** Schemas that have a name in openapi.yaml, in its order. */
import { backlogReport } from './backlog.ts';
import { batchRequest, batchResults } from './batch.ts';
import { check } from './check.ts';
import { config, configPatch } from './config.ts';
import { digest } from './digest.ts';
import { health } from './health.ts';
import { exportedEntry, imported } from './import-export.ts';
import {
  appended,
  deleted,
  deletedMany,
  expiry,
  expiryRequest,
  incremented,
  incrementRequest,
  keyPage,
  mergePatch,
  written,
} from './keys.ts';
import { problem } from './problems.ts';
import { replication } from './replication.ts';
import { failoverRequest, failoverResult, upstreamRequest } from './role.ts';
import { sessions } from './sessions.ts';
import { createdToken, revokedToken, tokenList, tokenRequest } from './tokens.ts';

export const SHARED = [
  problem,
  written,
  appended,
  incremented,
  incrementRequest,
  expiryRequest,
  expiry,
  mergePatch,
  deleted,
  deletedMany,
  keyPage,
  batchRequest,
  batchResults,
  exportedEntry,
  imported,
  digest,
  replication,
  backlogReport,
  check,
  sessions,
  failoverRequest,
  failoverResult,
  upstreamRequest,
  config,
  configPatch,
  tokenList,
  tokenRequest,
  createdToken,
  revokedToken,
  health,
] as const;
