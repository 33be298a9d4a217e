/** `traceparent` of W3C Trace Context: it names the trace that a request is part of, so that log lines of several services can be joined. */
import type { IncomingMessage } from 'node:http';

/** Version, trace, parent and flags; all zeros name nothing, and there is no version ff. */
const TRACEPARENT = /^(?!ff)[\da-f]{2}-(?!0{32})[\da-f]{32}-(?!0{16})[\da-f]{16}-[\da-f]{2}$/;

/** @returns the member for a line of a log; none if the request has no valid header */
export function traceOf({ headers }: Pick<IncomingMessage, 'headers'>): { readonly traceparent?: string } {
  const { traceparent } = headers;
  return typeof traceparent === 'string' && TRACEPARENT.test(traceparent) ? { traceparent } : {};
}
