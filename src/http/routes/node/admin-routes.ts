/** Routes for operators: `/v1/info`, `/v1/config`, `/healthz`, `/readyz`. */
import type { FastifyInstance } from 'fastify';
import type { Node } from '../../../node/node.ts';
import { Problem } from '../../../node/problem.ts';
import type { Wanted } from '../../../node/readiness.ts';
import { json, plainText } from '../../schemas/common/answers.ts';
import { type Described, referenceTo } from '../../schemas/common/described.ts';
import { EXAMPLE_INFO } from '../../schemas/common/examples.ts';
import { problems } from '../../schemas/common/problems.ts';
import { config, configPatch } from '../../schemas/node/config.ts';
import { health, readinessQuery } from '../../schemas/node/health.ts';
import { parseMaxLag } from '../../schemas/node/max-lag.ts';
import type { SideSettings } from '../../side-server.ts';
import { formatInfo } from './info.ts';

/** Settings of the running node: `app.ts` knows their meaning and which ones may change. */
export interface RunningSettings extends SideSettings {
  readonly version: string;
  /** Start of the node, on the clock of `performance.now()`. */
  readonly startedAt: number;
  /** Delay of the event loop in the last seconds. */
  readonly loopLag: { readonly p99Ms: number; readonly maxMs: number };
  /** Counts since the start: rows committed to the journal, and fsyncs of the journal. */
  readonly journal: { readonly commits: number; readonly fsyncs: number };
  /** All settings by name. */
  current(): Readonly<Record<string, unknown>>;
  /** @returns one line that says what is wrong, and nothing was changed; null: the settings were changed */
  change(values: Readonly<Record<string, string>>): string | null;
}

export function adminRoutes(app: FastifyInstance, node: Node, settings: RunningSettings): void {
  getInfoRoute(app, node, settings);
  getConfigRoute(app, settings);
  changeConfigRoute(app, node, settings);
  probeRoutes(app, { alive: () => undefined, unready: (wanted) => node.unready(wanted) });
}

/** What the routes of probes ask of a node. */
export interface Probed {
  /** Returns, or resolves, if the node does its work. */
  alive(): void | Promise<void>;
  /** @returns why this is not the wanted node; null: it is */
  unready(wanted: Wanted): Problem | null | Promise<Problem | null>;
}

/** `/healthz` and `/readyz`. */
export function probeRoutes(app: FastifyInstance, probed: Probed): void {
  getHealthRoute(app, probed);
  getReadinessRoute(app, probed);
}

function getInfoRoute(app: FastifyInstance, node: Node, settings: RunningSettings): void {
  app.get('/v1/info', {
    schema: {
      operationId: 'getInfo',
      summary: "The state of the node under Redis's INFO names",
      description:
        'For tools and people that know Redis; programs are better off with `/v1/replication`. Beside its names ' +
        '`last_scrub_result` (`ok`, `interrupted`, `failed`, `none`): of the last search for damage in the keyspace file; ' +
        '`expired_backlog`: about how many entries have expired and are not deleted yet, counted up to 100,000.',
      tags: ['operation'],
      response: { 200: plainText('`name:value` lines in sections.', EXAMPLE_INFO), ...problems() },
    },
    handler: (_request, reply) => {
      reply
        .type('text/plain; charset=utf-8')
        .send(formatInfo(node.status, node.scrub, node.overlayBytes, node.expiredBacklog, settings));
    },
  });
}

function getConfigRoute(app: FastifyInstance, settings: RunningSettings): void {
  app.get('/v1/config', {
    schema: {
      operationId: 'getConfig',
      summary: 'The settings',
      description: 'All settings that the node runs with, also those that cannot change while it runs.',
      tags: ['operation'],
      response: { 200: json('Sizes in bytes, times in milliseconds.', config), ...problems('admin') },
    },
    handler: (_request, reply) => {
      reply.send(settings.current());
    },
  });
}

function changeConfigRoute(app: FastifyInstance, node: Node, settings: RunningSettings): void {
  app.patch<{ Body: Described<typeof configPatch> }>('/v1/config', {
    schema: {
      operationId: 'changeConfig',
      summary: 'Change settings of the running node',
      description: 'All of what is named, or with 400 nothing. A change lasts until the node stops.',
      tags: ['operation'],
      body: referenceTo(configPatch),
      response: {
        200: json('The settings as they are now.', config),
        ...problems('admin', 'body'),
      },
    },
    handler: (request, reply) => {
      const values = Object.entries(request.body).map(([name, value]) => [name, String(value)]);
      const wrong = settings.change(Object.fromEntries(values));
      if (wrong !== null) throw new Problem('BAD_REQUEST', wrong);
      node.settingsChanged();
      reply.send(settings.current());
    },
  });
}

function getHealthRoute(app: FastifyInstance, probed: Probed): void {
  app.get<{ Reply: Described<typeof health> }>('/healthz', {
    schema: {
      operationId: 'getHealth',
      security: [],
      summary: 'Whether the process is alive',
      description: 'For supervisors: whoever gets no answer may restart it.',
      tags: ['operation'],
      response: { 200: json('It is.', health), ...problems('LOADING') },
    },
    handler: async (_request, reply) => {
      await probed.alive();
      return reply.send({ status: 'ok' });
    },
  });
}

function getReadinessRoute(app: FastifyInstance, probed: Probed): void {
  app.get<{ Querystring: Described<typeof readinessQuery>; Reply: Described<typeof health> }>('/readyz', {
    schema: {
      operationId: 'getReadiness',
      security: [],
      summary: 'Whether the node should get requests',
      description:
        'For balancers; HEAD does it too. A master is ready, also while it refuses writes; a replica is as long as it is connected to its master, or no further behind ' +
        'than `maxLag`. None is while a file of it is not in its place any more (`STORAGE_FAILED`), nor while the node stops ' +
        '(`SHUTTING_DOWN`). What the query means wrongly is 400, so that a typing error never looks like a node that is ready.',
      tags: ['operation'],
      querystring: readinessQuery,
      response: { 200: json('It should.', health), ...problems('LOADING') },
    },
    handler: async ({ query: { role, maxLag } }, reply) => {
      const wanted = { role, maxLag: maxLag === undefined ? null : parseMaxLag(maxLag) };
      const problem = await probed.unready(wanted);
      if (problem !== null) throw problem;
      return reply.send({ status: 'ready' });
    },
  });
}
