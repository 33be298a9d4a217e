/**
 * The functions that turn answers into JSON, made from the routes' schemas. Some hundred pairs of route and status have
 * one, and making them all took a third of a node's start; most are never used. So each is made when it is first
 * needed, which takes about a millisecond.
 */
import { SerializerSelector } from '@fastify/fast-json-stringify-compiler';

type Factory = ReturnType<typeof SerializerSelector>;
type Serialize = ReturnType<ReturnType<Factory>>;

/** For Fastify's `schemaController`: like its own, but for the moment. */
export function serializers(): Factory {
  const factory = SerializerSelector();
  return (shared, options) => {
    const compile = factory(shared, options);
    return (route) => {
      let serialize: Serialize | null = null;
      return (answer) => {
        serialize ??= compile(route);
        return serialize(answer);
      };
    };
  };
}
