/** The URL at which clients reach this node. */
import type { Admission } from './origins.ts';
import type { Forwarded } from './proxies.ts';

/**
 * @param request whose `Host` this node answers to
 * @returns `--public-url`, or else scheme and host as the client used them; without a final slash
 */
export function baseUrlOf(
  request: Forwarded,
  { publicUrl, proxies }: Pick<Admission, 'publicUrl' | 'proxies'>,
): string {
  if (publicUrl !== null) return publicUrl;
  const host = proxies.forwardedHost(request) ?? request.headers.host ?? '127.0.0.1';
  // In the one form that `URL` gives it: it goes into documents.
  return new URL(`${proxies.schemeOf(request) ?? 'http'}://${host}`).origin;
}
