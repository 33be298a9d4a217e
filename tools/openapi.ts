/**
 * Makes openapi.yaml from the schemas of the routes: the routes are the source, so the document cannot drift.
 * `--check` compares instead, and fails on any difference.
 */
import { createDocumentServer, documentYaml } from '../src/http/document/document-server.ts';
import { version } from '../src/runtime/version.ts';
import { DESCRIBED } from './described.ts';
import { make } from './made-file.ts';

make('openapi.yaml', documentYaml(await createDocumentServer({ ...DESCRIBED, version: version() })));
