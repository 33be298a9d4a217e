/**
 * The types of psyncd/client and the schemas of the API describe the same. The compiler checks these tests: a statement that is
 * not true has the type `false`, so that `npm run check` refuses its value.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import type * as admin from '../../src/client/admin/answers.ts';
import type * as client from '../../src/client/answers.ts';
import type { ErrorCode } from '../../src/client/api-error.ts';
import type { ExpiringEvent, FeedChange, FeedEvent } from '../../src/client/event.ts';
import type { BatchOperation } from '../../src/client/rest.ts';
import type { Described } from '../../src/http/schemas/common/described.ts';
import type { problem } from '../../src/http/schemas/common/problems.ts';
import type { batchRequest, batchResults } from '../../src/http/schemas/keys/batch.ts';
import type { change, changeEvent } from '../../src/http/schemas/keys/changes.ts';
import type { difference } from '../../src/http/schemas/keys/diff.ts';
import type { imported } from '../../src/http/schemas/keys/import-export.ts';
import type {
  appended,
  deletedMany,
  expiry,
  incremented,
  keyPage,
  written,
} from '../../src/http/schemas/keys/keys.ts';
import type { health } from '../../src/http/schemas/node/health.ts';
import type {
  createdToken,
  revokedToken,
  tokenList,
  tokenRequest,
} from '../../src/http/schemas/node/tokens.ts';
import type { writeHold } from '../../src/http/schemas/node/write-hold.ts';
import type { backlogReport } from '../../src/http/schemas/replication/backlog.ts';
import type { check } from '../../src/http/schemas/replication/check.ts';
import type { digest } from '../../src/http/schemas/replication/digest.ts';
import type { replication } from '../../src/http/schemas/replication/replication.ts';
import type { failoverResult } from '../../src/http/schemas/replication/role.ts';
import type { endedSession, sessions } from '../../src/http/schemas/replication/sessions.ts';
import type { ReplicationStatus } from '../../src/node/node.ts';
import type { ProblemCode } from '../../src/node/problem.ts';

/** Whether both types have the same members, each optional in both or in none. */
type Same<One, Other> =
  (<T>() => T extends One ? 1 : 2) extends <T>() => T extends Other ? 1 : 2 ? true : false;
/** Whether every value of the one type is also a value of the other. */
type Fits<One, Other> = [One] extends [Other] ? true : false;
/** A value as it arrives after `JSON.stringify`, which leaves undefined members out. */
type Sent<T> = T extends unknown
  ? { [Name in keyof T as T[Name] extends undefined ? never : Name]: Exclude<T[Name], undefined> }
  : never;

function hold(statements: Readonly<Record<string, true>>): void {
  assert.ok(Object.values(statements).every((isTrue) => isTrue));
}

test('psyncd/client declares each answer as its schema describes it', () => {
  const statements: {
    Written: Same<client.Written, Described<typeof written>>;
    Incremented: Same<client.Incremented, Described<typeof incremented>>;
    Appended: Same<client.Appended, Described<typeof appended>>;
    Imported: Same<client.Imported, Described<typeof imported>>;
    DiffAnswer: Same<client.DiffAnswer, Described<typeof difference>>;
    BatchAnswer: Same<client.BatchAnswer, Described<typeof batchResults>>;
    DigestAnswer: Same<client.DigestAnswer, Described<typeof digest>>;
    ReplicationAnswer: Same<client.ReplicationAnswer, Described<typeof replication>>;
    CheckAnswer: Same<client.CheckAnswer, Described<typeof check>>;
    FailoverAnswer: Same<client.FailoverAnswer, Described<typeof failoverResult>>;
    ExpiryAnswer: Same<client.ExpiryAnswer, Described<typeof expiry>>;
    KeyPage: Same<client.KeyPage, Described<typeof keyPage>>;
    DeletedMany: Same<client.DeletedMany, Described<typeof deletedMany>>;
    ProblemAnswer: Same<client.ProblemAnswer, Described<typeof problem>>;
    SessionsAnswer: Same<admin.SessionsAnswer, Described<typeof sessions>>;
    BacklogAnswer: Same<admin.BacklogAnswer, Described<typeof backlogReport>>;
    TokensAnswer: Same<admin.TokensAnswer, Described<typeof tokenList>>;
    TokenRequest: Same<admin.TokenRequest, Described<typeof tokenRequest>>;
    CreatedToken: Same<admin.CreatedToken, Described<typeof createdToken>>;
    RevokedToken: Same<admin.RevokedToken, Described<typeof revokedToken>>;
    HealthAnswer: Same<admin.HealthAnswer, Described<typeof health>>;
    EndedSession: Same<admin.EndedSession, Described<typeof endedSession>>;
    WriteHoldAnswer: Same<admin.WriteHoldAnswer, Described<typeof writeHold>>;
    codes: Same<ErrorCode, ProblemCode | 'BAD_ANSWER'>;
  } = {
    Written: true,
    Incremented: true,
    Appended: true,
    Imported: true,
    DiffAnswer: true,
    BatchAnswer: true,
    DigestAnswer: true,
    ReplicationAnswer: true,
    CheckAnswer: true,
    FailoverAnswer: true,
    ExpiryAnswer: true,
    KeyPage: true,
    DeletedMany: true,
    ProblemAnswer: true,
    SessionsAnswer: true,
    BacklogAnswer: true,
    TokensAnswer: true,
    TokenRequest: true,
    CreatedToken: true,
    RevokedToken: true,
    HealthAnswer: true,
    EndedSession: true,
    WriteHoldAnswer: true,
    codes: true,
  };
  hold(statements);
});

test('a node only reports a state of replication that its schema describes', () => {
  const statements: { status: Fits<ReplicationStatus, client.ReplicationAnswer> } = { status: true };
  hold(statements);
});

test('the schema admits every operation of a batch that psyncd/client can send', () => {
  type Admitted = Described<typeof batchRequest>['ops'][number];
  const statements: { operations: Fits<Sent<BatchOperation>, Admitted> } = { operations: true };
  hold(statements);
});

test('psyncd/client knows every event of the feed with the members that its schema describes', () => {
  type DescribedEvent = Described<typeof changeEvent>;
  const statements: {
    events: Fits<DescribedEvent, FeedEvent | ExpiringEvent>;
    changes: Fits<Described<typeof change>, FeedChange>;
    types: Same<FeedEvent['type'] | 'expiring', DescribedEvent['type']>;
  } = { events: true, changes: true, types: true };
  hold(statements);
});

test('a statement that is not true does not compile', () => {
  // @ts-expect-error: a member is optional in one of the types only.
  const optional: Same<{ a: 1 }, { a?: 1 }> = true;
  // @ts-expect-error: a member is missing in one of the types.
  const missing: Same<{ a: 1 }, { a: 1; b?: 2 }> = true;
  // @ts-expect-error: null is a value of one of the types only.
  const nullable: Fits<{ a: 1 | null }, { a: 1 }> = true;
  for (const refused of [optional, missing, nullable]) assert.equal(refused, true);
});
