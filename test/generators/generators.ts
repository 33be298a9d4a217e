/** The generators that `npm run sdk` tries, in the order of the table in docs/sdk.md. */

export interface Generator {
  /** Name of its folder in clients. */
  readonly name: string;
  /** Packages whose versions the table shows. */
  readonly packages: readonly string[];
  /** What is run in a folder with openapi.yaml, as somebody would type it behind `npx`; null: there is nothing to generate. */
  readonly command: string | null;
  /** A file with settings that the command reads. */
  readonly config?: string;
}

export const GENERATORS: readonly Generator[] = [
  {
    name: 'openapi-fetch',
    packages: ['openapi-typescript', 'openapi-fetch'],
    command: 'openapi-typescript openapi.yaml -o psyncd.d.ts',
  },
  { name: 'hey-api', packages: ['@hey-api/openapi-ts'], command: 'openapi-ts -i openapi.yaml -o client' },
  {
    name: 'orval-fetch',
    packages: ['orval'],
    command: 'orval --config orval.config.ts',
    config: 'orval.config.ts',
  },
  {
    name: 'orval-axios',
    packages: ['orval', 'axios'],
    command: 'orval --config orval.config.ts',
    config: 'orval.config.ts',
  },
  {
    name: 'swagger-typescript-api',
    packages: ['swagger-typescript-api'],
    command: 'swagger-typescript-api generate -p openapi.yaml -n client.ts',
  },
  {
    name: 'kubb',
    packages: ['@kubb/core', '@kubb/plugin-client', 'axios'],
    command: 'kubb generate --config kubb.config.ts',
    config: 'kubb.config.ts',
  },
  {
    name: 'oazapfts',
    packages: ['oazapfts', '@oazapfts/runtime'],
    command: 'oazapfts openapi.yaml client.ts',
  },
  {
    name: 'openapi-zod-client',
    packages: ['openapi-zod-client', '@zodios/core'],
    command: `openapi-zod-client openapi.yaml -o client.ts --export-schemas --media-type-expr "mediaType.includes('json')"`,
  },
  {
    name: 'openapi-client-axios',
    packages: ['openapi-client-axios', 'openapi-client-axios-typegen'],
    command: 'typegen openapi.yaml > client.d.ts',
  },
  { name: 'swagger-client', packages: ['swagger-client'], command: null },
  {
    name: 'typed-openapi',
    packages: ['typed-openapi'],
    command: 'typed-openapi openapi.yaml -o client.ts --success-status-codes 200,201,202',
  },
];
