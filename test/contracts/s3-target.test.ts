/** A bucket of object storage keeps the promises of a target for backups, and those that only a bucket makes. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { TargetError } from '../../src/node/ports/backup-target.ts';
import { openTarget } from '../../src/target/open-target.ts';
import type { Patience } from '../../src/target/s3/client.ts';
import { placeOf } from '../../src/target/s3/place.ts';
import { S3Target } from '../../src/target/s3/s3-target.ts';
import { LEAST_PART_BYTES } from '../../src/target/s3/upload.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { BUCKET, FakeS3, type Fault, SECRET_KEY, type Seen } from '../support/fake-s3.ts';
import { describeBackupTarget, namesIn, refuses } from './backup-target.ts';

const HASTY: Patience = { pauseMs: 1, stallMs: 60_000, requestMs: 60_000 };
const DAY_MS = 24 * 60 * 60 * 1000;
const SLOW_DOWN: Fault = {
  status: 503,
  text: '<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>',
};
const PAGE: Fault = { status: 200, text: '<!DOCTYPE html><html><body>Log in to the Wi-Fi</body></html>' };
const SMALL = { bytes: Buffer.from('x') };

describeBackupTarget('a bucket', async (t) => {
  const fake = await FakeS3.start(t);
  return openTarget(`s3://${BUCKET}`, fake.env);
});
describeBackupTarget('a prefix of a bucket, with temporary keys', async (t) => {
  const fake = await FakeS3.start(t);
  fake.sessionToken = 'temporary/+=';
  fake.store('elsewhere/d', Buffer.from('not ours'));
  return openTarget(`s3://${BUCKET}/a+b/shop=1/`, fake.env);
});

async function begun(
  t: TestContext,
  patience = HASTY,
): Promise<{ fake: FakeS3; target: S3Target; folder: string }> {
  const fake = await FakeS3.start(t);
  const target = new S3Target(placeOf(`s3://${BUCKET}/here`, fake.env), patience);
  return { fake, target, folder: await temporaryFolder(t) };
}

/** @returns a fault for the first requests that fit, `times` of them */
function first(
  times: number,
  fault: Fault,
  fits: (seen: Seen) => boolean = () => true,
): (seen: Seen) => Fault | null {
  let left = times;
  return (seen) => {
    if (left === 0 || !fits(seen)) return null;
    left -= 1;
    return fault;
  };
}

const isPart = ({ method, query }: Seen): boolean => method === 'PUT' && query.has('partNumber');
const isEnd = ({ method, query }: Seen): boolean => method === 'POST' && query.has('uploadId');

async function largeFile(folder: string): Promise<{ path: string; bytes: Buffer }> {
  const path = join(folder, 'large');
  const bytes = randomBytes(2 * LEAST_PART_BYTES + 1);
  await writeFile(path, bytes);
  return { path, bytes };
}

test('a large object comes in parts, in order, and without an upload that is left', async (t) => {
  const { fake, target, folder } = await begun(t);
  const { path, bytes } = await largeFile(folder);
  await target.put('a', { path });
  assert.deepEqual(
    fake.seen.filter(isPart).map(({ query }) => query.get('partNumber')),
    ['1', '2', '3'],
  );
  assert.ok(fake.objects.get('here/a')?.bytes.equals(bytes));
  assert.equal(fake.uploads.size, 0);
});

test('requests one after the other share a connection', async (t) => {
  const { fake, target, folder } = await begun(t);
  const { path } = await largeFile(folder);
  await target.put('a', { path });
  await target.put('b', SMALL);
  await target.get('a', join(folder, 'got'));
  await namesIn(target, '');
  await target.delete('a');
  await target.clean(Date.now(), () => true);
  assert.equal(fake.connections, 1);
});

for (const [name, fault] of [
  ['503 SlowDown', SLOW_DOWN],
  ['500', { status: 500 }],
  ['a cut in the middle of a part', 'cut-request'],
  ['a cut before the answer', 'lost-answer'],
] as const) {
  test(`an upload goes on after ${name}`, async (t) => {
    const { fake, target, folder } = await begun(t);
    const { path, bytes } = await largeFile(folder);
    fake.fault = first(3, fault, isPart);
    await target.put('a', { path });
    assert.ok(fake.objects.get('here/a')?.bytes.equals(bytes));
    fake.fault = first(2, fault, isEnd);
    await target.put('b', { path });
    assert.ok(fake.objects.get('here/b')?.bytes.equals(bytes));
  });
}

test('an upload that cannot be finished leaves neither an object nor parts', async (t) => {
  const { fake, target, folder } = await begun(t);
  const { path } = await largeFile(folder);
  for (const [code, fault, fits] of [
    ['TARGET_BUSY', SLOW_DOWN, isPart],
    ['TARGET_UNREACHABLE', 'cut-request', isPart],
    ['TARGET_ANSWER', PAGE, isPart],
    ['TARGET_ANSWER', PAGE, isEnd],
    ['NO_ACCESS', { status: 403 }, isEnd],
    ['TARGET_BUSY', { ...SLOW_DOWN, status: 200 }, isEnd],
  ] as const) {
    fake.fault = first(Number.POSITIVE_INFINITY, fault, fits);
    await refuses(code, () => target.put('a', { path }));
    assert.equal(fake.uploads.size, 0, code);
    assert.equal(fake.objects.size, 0, code);
  }
});

test('a busy target is asked a bounded number of times', async (t) => {
  const { fake, target } = await begun(t);
  fake.fault = () => SLOW_DOWN;
  await refuses('TARGET_BUSY', () => target.put('a', SMALL));
  assert.equal(fake.seen.length, 6);
  fake.seen.length = 0;
  fake.fault = () => ({ status: 403 });
  await refuses('NO_ACCESS', () => target.put('a', SMALL));
  assert.equal(fake.seen.length, 1);
});

test('a silent target is given up after a time', async (t) => {
  const { fake, target } = await begun(t, { pauseMs: 1, stallMs: 60_000, requestMs: 50 });
  fake.fault = () => 'silent';
  await refuses('TARGET_UNREACHABLE', () => target.put('a', SMALL));
});

test('a page of a proxy is no answer, whatever was asked', async (t) => {
  const { fake, target, folder } = await begun(t);
  const { path } = await largeFile(folder);
  fake.fault = () => PAGE;
  await refuses('TARGET_ANSWER', () => target.put('a', SMALL));
  await refuses('TARGET_ANSWER', () => target.put('a', { path }));
  await refuses('TARGET_ANSWER', () => target.get('a', join(folder, 'got')));
  await refuses('TARGET_ANSWER', () => namesIn(target, ''));
  await refuses('TARGET_ANSWER', () => target.clean(Date.now(), () => true));
  assert.ok(!existsSync(join(folder, 'got')));
});

test('a clock that differs is named, with both times', async (t) => {
  const { fake, target } = await begun(t);
  fake.skewMs = DAY_MS;
  await refuses('CLOCK_SKEW', () => target.put('a', SMALL));
  await assert.rejects(target.put('a', SMALL), /RequestTimeTooSkewed.*here it is \d{8}T\d{6}Z, there \d{4}-/);
});

test('wrong keys, a missing bucket and a wrong region are named', async (t) => {
  const { fake, folder } = await begun(t);
  const opened = (text: string, env = {}) => new S3Target(placeOf(text, { ...fake.env, ...env }), HASTY);
  const put = (target: S3Target) => () => target.put('a', SMALL);
  await refuses('NO_ACCESS', put(opened(`s3://${BUCKET}`, { AWS_ACCESS_KEY_ID: 'another' })));
  await refuses('NO_ACCESS', put(opened(`s3://${BUCKET}`, { AWS_SECRET_ACCESS_KEY: 'another' })));
  await refuses('NO_ACCESS', put(opened(`s3://${BUCKET}`, { AWS_SESSION_TOKEN: 'another' })));
  await refuses('NO_ACCESS', put(opened(`s3://${BUCKET}`, { AWS_REGION: 'another' })));
  await refuses('NO_SUCH_BUCKET', put(opened('s3://no-such-bucket')));
  await refuses('NO_SUCH_BUCKET', () => opened('s3://no-such-bucket').get('a', join(folder, 'got')));
  await refuses('NO_SUCH_BUCKET', () => namesIn(opened('s3://no-such-bucket'), ''));
});

test('a redirect is not followed, and no other host gets the signature', async (t) => {
  const { fake, target } = await begun(t);
  let asked = 0;
  const other = createServer((_request, response) => {
    asked += 1;
    response.end();
  });
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  t.after(() => other.close());
  const location = `http://127.0.0.1:${(other.address() as AddressInfo).port}/`;
  fake.fault = () => ({ status: 307, headers: { location } });
  await refuses('BAD_TARGET', () => target.put('a', SMALL));
  assert.equal(asked, 0);
});

test('a download goes on after each cut, and never mixes two objects', async (t) => {
  const { fake, target, folder } = await begun(t);
  const bytes = randomBytes(1024 * 1024);
  fake.store('here/a', bytes);
  fake.fault = first(12, 'cut-answer');
  await target.get('a', join(folder, 'got'));
  assert.ok(bytes.equals(await readFile(join(folder, 'got'))));
  let times = 0;
  fake.fault = () => {
    times += 1;
    if (times === 2) fake.store('here/a', randomBytes(1024 * 1024));
    return times === 1 ? 'cut-answer' : null;
  };
  await refuses('TARGET_FAILED', () => target.get('a', join(folder, 'mixed')));
  assert.ok(!existsSync(join(folder, 'mixed')));
});

test('a list of many pages is complete, and keys of others are left out', async (t) => {
  const { fake, target } = await begun(t);
  const names = Array.from({ length: 2_100 }, (_, index) => `shop/${String(index).padStart(5, '0')}.db`);
  for (const name of names) fake.store(`here/${name}`, Buffer.alloc(0));
  for (const foreign of [
    'here/shop/a b',
    'here/shop/ä<&>',
    'here/shop/',
    'here/shop/../x',
    'hereafter/x',
    'y',
  ]) {
    fake.store(foreign, Buffer.alloc(0));
  }
  assert.deepEqual(await namesIn(target, 'shop'), names);
  assert.deepEqual(await namesIn(target, ''), names);
});

test('a list that never ends, or is too long, is given up', async (t) => {
  const { fake, target } = await begun(t);
  const again = '<IsTruncated>true</IsTruncated><NextContinuationToken>same</NextContinuationToken>';
  for (const text of [
    `<ListBucketResult>${again}</ListBucketResult>`,
    '<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>',
    `<ListBucketResult>${' '.repeat(3 * 1024 * 1024)}</ListBucketResult>`,
    '<a>'.repeat(100_000),
    '<!DOCTYPE a [<!ENTITY b "c">]><ListBucketResult>&b;</ListBucketResult>',
  ]) {
    fake.fault = () => ({ status: 200, text });
    await refuses('TARGET_ANSWER', () => namesIn(target, ''));
  }
});

test('a page with more markup than a list has is refused before it is parsed', async (t) => {
  const { fake, target } = await begun(t);
  for (const filler of ['<a/>', '&amp;', '<!---->', '<?a?>']) {
    fake.fault = () => ({
      status: 200,
      text: `<ListBucketResult>${filler.repeat(20_000)}</ListBucketResult>`,
    });
    await refuses('TARGET_ANSWER', () => namesIn(target, ''));
  }
});

test('a full page of long keys, with all that S3 says of an object, is read', async (t) => {
  const { fake, target } = await begun(t);
  const object = (key: string): string =>
    `<Contents><Key>${key}</Key><LastModified>2026-11-29T06:00:00.000Z</LastModified><ETag>&quot;${'0'.repeat(32)}&quot;</ETag>` +
    '<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>1</Size><Owner><ID>' +
    `${'0'.repeat(64)}</ID><DisplayName>shop</DisplayName></Owner><StorageClass>STANDARD</StorageClass></Contents>`;
  const foreign = Array.from({ length: 249 }, () => object('%E6'.repeat(1_024))).join('\r\n');
  fake.fault = () => ({
    status: 200,
    text: `<ListBucketResult>\r\n${foreign}${object('here/a')}</ListBucketResult>`,
  });
  assert.deepEqual(await namesIn(target, ''), ['a']);
});

test('carriage returns cost no more time than other characters', async (t) => {
  // The parser alone needs minutes for so many: the runner gives up.
  const { fake, target } = await begun(t);
  for (const filler of ['\r', '\r\n']) {
    fake.fault = () => ({
      status: 200,
      text: `<ListBucketResult>${filler.repeat(400_000)}</ListBucketResult>`,
    });
    assert.deepEqual(await namesIn(target, ''), []);
  }
});

test('parts of a put that was killed go when they are old, and those of others stay', async (t) => {
  const { fake, target } = await begun(t);
  const begunAt = (ms: number, key: string) => ({ key, begun: new Date(ms), parts: new Map() });
  fake.uploads.set('old', begunAt(Date.now() - 2 * DAY_MS, 'here/shop/1.db'));
  fake.uploads.set('new', begunAt(Date.now(), 'here/shop/2.db'));
  fake.uploads.set('foreign', begunAt(Date.now() - 2 * DAY_MS, 'here/film.mkv'));
  fake.uploads.set('elsewhere', begunAt(Date.now() - 2 * DAY_MS, 'shop/1.db'));
  assert.equal(await target.clean(Date.now() - DAY_MS, (name) => name.endsWith('.db')), 1);
  assert.deepEqual([...fake.uploads.keys()].sort(), ['elsewhere', 'foreign', 'new']);
});

test('no message and no shown target has a secret', async (t) => {
  const { fake, target } = await begun(t);
  fake.fault = () => ({
    status: 400,
    text: '<Error><Code>\u001b[31mOdd</Code><Message>a\nb</Message></Error>',
  });
  await assert.rejects(target.put('a', SMALL), (error) => {
    assert.ok(error instanceof TargetError);
    assert.match(error.message, /^[ -~]+$/);
    assert.ok(!error.message.includes(SECRET_KEY));
    return true;
  });
  assert.equal(target.shown, `s3://${BUCKET}/here at ${fake.url}`);
});

test('no message has a key that the server repeats, nor a part of one', async (t) => {
  const fake = await FakeS3.start(t);
  fake.sessionToken = 'FwoGZXIvYXdzEBYaDHNlc3Npb24tdG9rZW4tc2VjcmV0';
  const target = new S3Target(placeOf(`s3://${BUCKET}/here`, fake.env), HASTY);
  const secrets = [fake.env.AWS_ACCESS_KEY_ID ?? '', SECRET_KEY, fake.sessionToken];
  for (const secret of secrets) {
    const spread = [...secret].join('\u200b');
    for (const said of [
      secret,
      secret.slice(0, 10),
      secret.slice(-10),
      `${' '.repeat(190)}${secret}`,
      spread,
    ]) {
      for (const error of [
        `<Code>Odd</Code><Message>you sent: ${said};</Message>`,
        `<Code>${said}</Code>`,
        `<Code>RequestTimeTooSkewed</Code><ServerTime>${said}</ServerTime>`,
      ]) {
        fake.fault = () => ({ status: 400, text: `<Error>${error}</Error>` });
        await assert.rejects(target.put('a', SMALL), ({ message }: Error) => {
          const dense = said === spread ? message.replace(/\s/g, '') : message;
          assert.ok(!dense.includes(secret.slice(0, 10)) && !dense.includes(secret.slice(-10)), message);
          return true;
        });
      }
    }
  }
});

test('the message about a wrong bucket or prefix says what is wrong with it, and shows no secret', async (t) => {
  const { env } = await FakeS3.start(t);
  for (const [text, said] of [
    ['s3://b/p', /^s3:\/\/b: the name of a bucket has 3 to 63 characters/],
    ['s3://key:secret@bucket/p', /^s3:\/\/…: the name of a bucket has 3 to 63 characters/],
    ['s3:///p', /names no bucket; write s3:\/\/BUCKET/],
    [`s3://${BUCKET}/${'a/'.repeat(201)}`, /a prefix has at most 400 characters/],
    [`s3://${BUCKET}/.a`, /no part begins with "\."/],
  ] as const) {
    await assert.rejects(openTarget(text, env), (error: Error) => {
      assert.doesNotMatch(error.message, /secret/);
      assert.match(error.message, said);
      return true;
    });
  }
});

test('a text or an environment that names no bucket is refused', async (t) => {
  const { env } = await FakeS3.start(t);
  for (const text of [
    's3://',
    's3:///a',
    's3://b',
    's3://a..b',
    `s3://${BUCKET}/a//b`,
    `s3://${BUCKET}/../x`,
    `s3://${BUCKET}?x`,
  ]) {
    await refuses('BAD_TARGET', () => openTarget(text, env));
  }
  for (const wrong of [
    { S3_ENDPOINT: 'ftp://127.0.0.1' },
    { S3_ENDPOINT: 'http://user:secret@127.0.0.1' },
    { S3_ENDPOINT: 'http://127.0.0.1/path' },
    { AWS_REGION: 'a/b' },
    { AWS_ACCESS_KEY_ID: '' },
    { AWS_SECRET_ACCESS_KEY: '' },
    { AWS_SESSION_TOKEN: 'a\nb' },
  ]) {
    await refuses('BAD_TARGET', () => openTarget(`s3://${BUCKET}`, { ...env, ...wrong }));
  }
});
