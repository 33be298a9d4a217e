/** The part of jsdom that tests use. Its own types would bring those of browsers into every test. */
declare module 'jsdom' {
  export class JSDOM {
    constructor(html: string);
    readonly window: {
      readonly document: import('./react-page.ts').PageDocument;
    };
  }
}
