/** A certificate that expires is said in the log in time, and not more often than needed. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { ExpiryWarning } from '../../src/tls/expiry-warning.ts';
import { Certificates } from '../support/certificates.ts';

const HOUR_MS = 3_600_000;

test('the log says once each that a certificate expires in 14, 7 and 1 days and that it has', async (t) => {
  const certificates = await Certificates.create(t);
  const read = (name: string, toDays: number): X509Certificate =>
    new X509Certificate(readFileSync(certificates.make(name, { toDays }).cert));
  const first = read('first', 30);
  const lines: string[] = [];
  const log = (event: string, fields: Readonly<Record<string, unknown>> = {}): void => {
    lines.push(`${event} ${fields.days ?? ''}`.trim());
  };
  const warning = new ExpiryWarning({ debug: log, info: log, warn: log, error: log }, 'first.crt');
  const end = first.validToDate.getTime();
  for (let leftMs = 30 * 24 * HOUR_MS; leftMs > -48 * HOUR_MS; leftMs -= HOUR_MS) {
    warning.look(first, end - leftMs);
  }
  assert.deepEqual(lines, [
    'tls-certificate-expires 14',
    'tls-certificate-expires 7',
    'tls-certificate-expires 1',
    'tls-certificate-expired',
  ]);

  const second = read('second', 5);
  warning.look(second, Date.now());
  warning.look(second, Date.now());
  assert.deepEqual(lines.slice(4), ['tls-certificate-expires 4']);
});
