/** swagger-client has no types; this is the part that client.ts uses. */
declare module 'swagger-client' {
  interface Answer {
    /** A Blob of what is not text. */
    readonly data: unknown;
    // biome-ignore lint/suspicious/noExplicitAny: the client knows the document only when it runs
    readonly body: any;
  }
  type Call = (parameters: object, options?: { requestBody: unknown }) => Promise<Answer>;
  interface Loaded {
    readonly apis: {
      readonly keys: Readonly<Record<'putKey' | 'getKey' | 'batch' | 'listKeys' | 'deleteKey', Call>>;
    };
  }
  const SwaggerClient: new (options: { spec: object }) => Promise<Loaded>;
  export default SwaggerClient;
}
