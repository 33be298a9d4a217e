/** Which names of a certificate count, and that no name passes for another one. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { canonicalSan } from '../../src/access/tokens/token-list.ts';
import { namesOf } from '../../src/tls/certificate-names.ts';
import { Certificates, openssl } from '../support/certificates.ts';

for (const [what, san, names] of [
  [
    'URIs come before DNS names',
    'DNS:A.example,URI:spiffe://b/C,DNS:d.example',
    ['spiffe://b/C', 'a.example', 'd.example'],
  ],
  ['without alternative names the common name counts', null, ['subject']],
  [
    'addresses and mail are no names, and the common name beside them is none',
    'IP:127.0.0.1,email:a@b.example',
    [],
  ],
  ['with a DNS name the common name does not count', 'DNS:a.example', ['a.example']],
  ['a comma begins no other name', 'URI:x:a\\, DNS:admin', ['x:a, DNS:admin']],
  ['a DNS name with a colon is none', 'DNS:spiffe://b/c', []],
] as const) {
  test(`of a certificate, ${what}`, async (t) => {
    const certificates = await Certificates.create(t);
    const text = san?.includes('\\,') ? '@names' : san;
    const { cert } = certificates.make('subject', {
      san: text,
      more: text === '@names' ? '[names]\nURI.1=x:a, DNS:admin\n' : '',
    });
    assert.deepEqual(namesOf(new X509Certificate(readFileSync(cert))), names);
  });
}

test('a common name with a letter that only looks like one of A to Z does not pass for the other name', async (t) => {
  const certificates = await Certificates.create(t);
  // In lower case the Kelvin sign is a k.
  const name = 'BAC\u212Aend';
  const files = ['-keyout', certificates.path('kelvin.key'), '-out', certificates.path('kelvin.crt')];
  openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-utf8', '-subj', `/CN=${name}`, ...files);
  const certificate = new X509Certificate(readFileSync(certificates.path('kelvin.crt')));
  assert.deepEqual(namesOf(certificate), ['bac\u212Aend']);
  assert.equal(canonicalSan(name), 'bac\u212Aend');
});
