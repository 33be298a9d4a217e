/**
 * The functions that turn answers into JSON, made from the routes' schemas. Some hundred pairs of route and status have
 * one, and making them all took a third of a node's start; most are never used. So each is made when it is first
 * needed, which takes about a millisecond; before the first one what makes them is loaded.
 */
import { createRequire } from 'node:module';
import type { SerializerSelector } from '@fastify/fast-json-stringify-compiler';
import { Deferred, once } from './once.ts';

type Selector = typeof SerializerSelector;
type Factory = ReturnType<Selector>;

/**
 * For Fastify's `schemaController`: like its own, but for the moment.
 * @param deferred what makes them is loaded with the rest of it
 */
export function serializers(deferred = new Deferred()): Factory {
  const factory = deferred.once(() => {
    const compiler = createRequire(import.meta.url)('@fastify/fast-json-stringify-compiler');
    return (compiler.SerializerSelector as Selector)();
  });
  return (shared, options) => {
    const compile = once(() => factory()(shared, options));
    return (route) => {
      const serialize = once(() => compile()(route));
      return (answer) => serialize()(answer);
    };
  };
}
