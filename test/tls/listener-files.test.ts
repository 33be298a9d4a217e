/** A file that cannot be used for TLS is refused, and the message names the setting, the file and the reason. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import test, { type TestContext } from 'node:test';
import { type ListenerTlsSettings, readListenerFiles } from '../../src/tls/listener-files.ts';
import { TlsFileError } from '../../src/tls/pem.ts';
import { Certificates, openssl, type Pair } from '../support/certificates.ts';

type Change = (made: Certificates, good: Pair) => Partial<ListenerTlsSettings>;

function written(made: Certificates, name: string, content: string | Buffer): string {
  writeFileSync(made.path(name), content);
  return made.path(name);
}

/** What is wrong, how it is made, and the line that says so. */
const REFUSED: readonly (readonly [string, Change, RegExp])[] = [
  [
    'the key of another certificate',
    (made) => ({ tlsKey: made.make('other').key }),
    /^--tls-key \S+other\.key: it is not the key of the certificate in \S+good\.crt$/,
  ],
  [
    'an expired certificate',
    (made) => flagged(made.make('old', { fromDays: -2, toDays: -1 })),
    /^--tls-cert \S+old\.crt: the certificate has expired at 20\S+Z$/,
  ],
  [
    'a certificate that is not valid yet',
    (made) => flagged(made.make('early', { fromDays: 1 })),
    /^--tls-cert \S+early\.crt: the certificate is not valid before 20\S+Z$/,
  ],
  [
    'garbage in PEM armour',
    (made) => ({
      tlsCert: written(made, 'garbage.crt', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'),
    }),
    /^--tls-cert \S+garbage\.crt: certificate 1 cannot be read$/,
  ],
  [
    'a certificate that is cut off',
    (made, good) => ({ tlsCert: written(made, 'cut.crt', readFileSync(good.cert).subarray(0, 200)) }),
    /^--tls-cert \S+cut\.crt: certificate 1 has no end$/,
  ],
  [
    'text that is no certificate',
    (made) => ({ tlsCert: written(made, 'text.crt', 'hello\n') }),
    /^--tls-cert \S+text\.crt: it has no certificate in PEM/,
  ],
  [
    'a key in the place of the certificate',
    (_made, good) => ({ tlsCert: good.key }),
    /^--tls-cert \S+good\.key: it has no certificate in PEM/,
  ],
  [
    'a certificate in the place of the key',
    (_made, good) => ({ tlsKey: good.cert }),
    /^--tls-key \S+good\.crt: it has no private key in PEM$/,
  ],
  [
    'a certificate in DER',
    (made, good) => {
      openssl('x509', '-in', good.cert, '-outform', 'der', '-out', made.path('der.crt'));
      return { tlsCert: made.path('der.crt') };
    },
    /^--tls-cert \S+der\.crt: it is DER; psyncd takes PEM$/,
  ],
  [
    'an empty file',
    (made) => ({ tlsKey: written(made, 'empty.key', '') }),
    /^--tls-key \S+empty\.key: it is empty$/,
  ],
  [
    'a file that is not there',
    (made) => ({ tlsCert: made.path('none.crt') }),
    /^--tls-cert \S+none\.crt: there is no such file$/,
  ],
  [
    'a folder',
    (made) => {
      mkdirSync(made.path('folder'));
      return { tlsKey: made.path('folder') };
    },
    /^--tls-key \S+folder: it is a folder$/,
  ],
  [
    'a pipe that nobody writes into',
    (made) => {
      execFileSync('mkfifo', [made.path('pipe')]);
      return { tlsKey: made.path('pipe') };
    },
    /^--tls-key \S+pipe: it is no regular file$/,
  ],
  [
    'more than a mebibyte',
    (made) => ({ tlsCert: written(made, 'large.crt', Buffer.alloc(1024 * 1024 + 1, 'x')) }),
    /^--tls-cert \S+large\.crt: it has more than 1048576 bytes$/,
  ],
  [
    'a key with a pass phrase',
    (made, good) => {
      openssl('pkcs8', '-topk8', '-in', good.key, '-passout', 'pass:secret', '-out', made.path('locked.key'));
      return { tlsKey: made.path('locked.key') };
    },
    /^--tls-key \S+locked\.key: the key needs a pass phrase; psyncd takes a key without one$/,
  ],
  [
    'a key that OpenSSL finds too short',
    (made) => {
      const files = ['-keyout', made.path('short.key'), '-out', made.path('short.crt')];
      openssl('req', '-x509', '-newkey', 'rsa:1024', '-nodes', '-subj', '/CN=short', ...files);
      return flagged({ cert: made.path('short.crt'), key: made.path('short.key') });
    },
    /^--tls-cert \S+short\.crt: ee key too small$/,
  ],
  [
    'a list of CAs that is none',
    (made) => ({ tlsClientCa: written(made, 'ca.txt', 'hello\n'), tlsClientAuth: 'required' }),
    /^--tls-client-ca \S+ca\.txt: it has no certificate in PEM/,
  ],
  [
    'a list of more than a hundred CAs',
    (made) => {
      const cas = made.bundle('cas', ...Array<string>(101).fill(made.path('ca.crt')));
      return { tlsClientCa: cas, tlsClientAuth: 'required' };
    },
    /^--tls-client-ca \S+cas\.crt: it has more than 100 certificates$/,
  ],
];

function flagged({ cert, key }: Pair): Partial<ListenerTlsSettings> {
  return { tlsCert: cert, tlsKey: key };
}

function settingsOf({ cert, key }: Pair): ListenerTlsSettings {
  return {
    tlsCert: cert,
    tlsKey: key,
    tlsClientCa: null,
    tlsClientAuth: 'no',
    tlsMinVersion: '1.2',
    tlsReloadInterval: 0,
  };
}

async function made(t: TestContext): Promise<readonly [Certificates, Pair]> {
  const certificates = await Certificates.create(t);
  return [certificates, certificates.make('good')];
}

for (const [what, change, line] of REFUSED) {
  test(`${what} is refused in one line that names the setting and the file`, async (t) => {
    const [certificates, good] = await made(t);
    const settings = { ...settingsOf(good), ...change(certificates, good) };
    assert.throws(
      () => readListenerFiles(settings, Date.now()),
      (error) => {
        assert.ok(error instanceof TlsFileError, String(error));
        assert.match(error.message, line);
        assert.doesNotMatch(error.message, /\n/);
        return true;
      },
    );
  });
}

test('a certificate with its intermediate and a bundle of CAs are taken', async (t) => {
  const [certificates, good] = await made(t);
  certificates.ca('second');
  const chain = certificates.bundle('chain', good.cert, certificates.path('ca.crt'));
  const cas = certificates.bundle('cas', certificates.path('ca.crt'), certificates.path('second.crt'));
  const { pair, clientCas } = readListenerFiles(
    { ...settingsOf({ ...good, cert: chain }), tlsClientCa: cas, tlsClientAuth: 'required' },
    Date.now(),
  );
  assert.match(pair.certificate.subject, /CN=good/);
  assert.deepEqual(
    clientCas?.certificates.map(({ subject }) => subject),
    ['CN=ca', 'CN=second'],
  );
});
