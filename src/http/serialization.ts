import { jsonLine } from '../web/problem-body.ts';

/**
 * For Fastify's `schemaController`: answers become JSON as V8 makes it. Fastify would make a function for each route and
 * status from its schema; none is faster than V8's own, and the first request of each route would wait for its: a page 170 ms
 * on a busy machine.
 */
export const plainJson = () => () => jsonLine;
