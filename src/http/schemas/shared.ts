/** Schemas that have a name in openapi.yaml, in its order. */

import { problem } from './common/problems.ts';
import { batchOperation, batchRequest, batchResults } from './keys/batch.ts';
import { difference } from './keys/diff.ts';
import { exportedEntry, imported, importedEntry } from './keys/import-export.ts';
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
} from './keys/keys.ts';
import { config, configPatch } from './node/config.ts';
import { health } from './node/health.ts';
import { createdToken, revokedToken, tokenList, tokenRequest } from './node/tokens.ts';
import { holdRequest, writeHold } from './node/write-hold.ts';
import { backlogReport } from './replication/backlog.ts';
import { check } from './replication/check.ts';
import { digest } from './replication/digest.ts';
import { replication } from './replication/replication.ts';
import { failoverRequest, failoverResult, upstreamRequest } from './replication/role.ts';
import { endedSession, sessions } from './replication/sessions.ts';

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
  batchOperation,
  batchResults,
  exportedEntry,
  importedEntry,
  imported,
  difference,
  digest,
  replication,
  backlogReport,
  check,
  sessions,
  endedSession,
  holdRequest,
  writeHold,
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
