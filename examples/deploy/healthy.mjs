/** The health check of the container: exit code 0 if the node in it answers. */
import { request as http } from 'node:http';
import { request as https } from 'node:https';

/** The node's own settings, as far as they stand in the environment. */
const { PSYNCD_PORT: port = '7796', PSYNCD_TLS_CERT: cert = '' } = process.env;
const options = { host: '127.0.0.1', port, path: '/healthz', headers: { host: 'localhost' }, timeout: 4_000 };
// Nothing secret is sent, and the certificate is for other names than this address.
const request = cert === '' ? http(options) : https({ ...options, rejectUnauthorized: false });
request
  .on('response', ({ statusCode }) => process.exit(statusCode === 200 ? 0 : 1))
  .on('timeout', () => process.exit(1))
  .on('error', () => process.exit(1))
  .end();
