/**
 * Makes openapi.yaml from the schemas of the routes, so that the document and the routes cannot disagree. With `--check` it
 * compares the file instead, and fails on any difference.
 */
import { createDocumentServer, documentYaml } from '../src/http/document/document-server.ts';
import { version } from '../src/runtime/version.ts';
import { DESCRIBED } from './described.ts';
import { make } from './made-file.ts';

make('openapi.yaml', documentYaml(await createDocumentServer({ ...DESCRIBED, version: version() })));
