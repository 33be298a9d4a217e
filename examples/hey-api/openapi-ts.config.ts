import { defineConfig } from '@hey-api/openapi-ts';

export default defineConfig({
  input: '../openapi.yaml',
  // The client's modules name each other with `.ts`: Node runs them as they are.
  output: { path: 'hey-api/client', module: { extension: '.ts' } },
});
