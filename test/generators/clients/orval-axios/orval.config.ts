import { defineConfig } from 'orval';

export default defineConfig({
  psyncd: {
    input: 'openapi.yaml',
    output: { target: 'client.ts', client: 'axios-functions' },
  },
});
