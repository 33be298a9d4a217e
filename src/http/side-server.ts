/**
 * One listener of a node: Fastify behind Node's server, with what all listeners do alike. Handlers translate; whatever they decide about
 * replication would be in the wrong room.
 */
import type { IncomingMessage } from 'node:http';
import type { Server as TlsServer } from 'node:tls';
import Fastify, { type FastifyInstance } from 'fastify';
import type { Access } from '../access/access.ts';
import { clientName } from '../access/client-name.ts';
import { ANONYMOUS } from '../access/principal.ts';
import type { Node } from '../node/node.ts';
import type { Log } from '../node/ports/world.ts';
import type { ListenerTls } from '../tls/listener-tls.ts';
import type { AccessLog } from '../web/access-log.ts';
import type { Admission } from '../web/origins.ts';
import { rawProblem } from '../web/problem-body.ts';
import type { RequestCounts } from '../web/record/request-counts.ts';
import { answerHeaders } from './answer-headers.ts';
import { answerPreflight } from './cors.ts';
import type { DirectParts } from './fast-path/direct.ts';
import type { Handler } from './fast-path/in-order.ts';
import { longWay } from './fast-path/long-way.ts';
import { Front, type FrontParts, type Timeouts, type UpgradeListener } from './front.ts';
import type { End } from './hooks/admission-hooks.ts';
import { addHooks } from './hooks/hooks.ts';
import { KnownPaths } from './known-paths.ts';
import { Listening } from './listening.ts';
import { answerError, answerErrorDirectly, brokenRequest, endEarly } from './refusals.ts';
import { BodyStalls } from './request/bodies/body-stalls.ts';
import { rewriteKeyUrl } from './request/key.ts';
import type { PlaceRules } from './request/places.ts';
import { Traffic } from './request/traffic/traffic.ts';
import { validators } from './schemas/validation.ts';
import { plainJson } from './serialization.ts';
import type { Side } from './sides.ts';

/** Longer than Node lets the whole request line be: the key's own limit answers, not the router's. */
const MAX_PARAM_LENGTH = 65_536;

/** What every listener needs. */
export interface SideParts {
  readonly log: Log;
  readonly counts: Pick<RequestCounts, 'answered' | 'upgrade'>;
  readonly access: Access;
  /** null: there is none. */
  readonly accessLog: AccessLog | null;
  readonly node: Pick<Node, 'position' | 'role' | 'closing'>;
  readonly settings: SideSettings;
  /** null: plain HTTP. */
  readonly tls: ListenerTls | null;
}

export interface SideSettings extends Admission {
  /** Longest pause within a request's body. */
  readonly bodyTimeoutMs: number;
  /** Memory for request bodies and unread answers, in bytes. */
  readonly requestMemoryBytes: number;
  /** Whether the log gets a line about each request. */
  readonly logsRequests: boolean;
}

/** What a listener has that others do not. */
export interface OwnParts {
  /** Takes what wants to become a WebSocket; null: there are none. */
  readonly upgrade: UpgradeListener | null;
  /** @returns what takes every request: `long`, with what goes before it */
  readonly handler: (bodies: Pick<DirectParts, 'stalls' | 'traffic' | 'fail'>, long: Handler) => Handler;
  /** Adds hooks that run before all others. */
  readonly firstHooks: (app: FastifyInstance) => void;
  readonly routes: (app: FastifyInstance) => void | Promise<void>;
}

/**
 * @param side which operations it serves
 * @param traffic the limits of memory
 * @returns the server, not listening yet
 */
export async function createSide(
  parts: SideParts,
  side: Side,
  traffic: Traffic,
  own: OwnParts,
): Promise<Listening> {
  const { access, node, settings, tls } = parts;
  const { allowedOrigins } = settings;
  const stalls = new BodyStalls(() => settings.bodyTimeoutMs, traffic.bodies);
  access.whenLost.add(() => stalls.endOver());
  const shown = ({ method, url = '' }: IncomingMessage): string => known.shown(method, url);
  const refusing = { ...parts, shown };
  const front = new Front(frontParts(refusing, side, own.upgrade));
  const fail = front.fail.bind(front);
  tls?.serve(front.server as unknown as TlsServer);
  const app = Fastify({
    logger: false,
    serverFactory: (fastify, options) => {
      const long = longWay(fastify, () => front.rounds.longStarted());
      const handler = own.handler({ stalls, traffic, fail }, long);
      return front.serve(handler, options as unknown as Timeouts);
    },
    rewriteUrl: (request) => rewriteKeyUrl(request.url ?? '/', request.method),
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
    // Of requests that do not even reach the router no hook is run.
    frameworkErrors: (error, request, reply) => {
      reply.headers(answerHeaders(node, allowedOrigins, request.raw.headers));
      if (!answerPreflight(request, reply, allowedOrigins)) answerError(refusing, error, request, reply);
    },
    return503OnClosing: false,
    schemaController: {
      compilersFactory: { buildValidator: validators, buildSerializer: plainJson },
    },
    clientErrorHandler: (error, socket) => front.broken(error, socket, brokenRequest(error)),
  });
  const known = new KnownPaths(app, side);
  const end: End = (problem, request, reply) => endEarly(refusing, problem, request, reply, fail);
  own.firstHooks(app);
  addHooks(app, { node, access, settings, side, known, stalls, traffic, fail, end });
  app.setErrorHandler((error: Error, request, reply) => answerError(refusing, error, request, reply));
  app.setNotFoundHandler((request, reply) => known.answer(request, reply));

  await own.routes(app);
  return new Listening(app, front.places, () => tls?.endHandshakes());
}

/** @returns the limits of memory of a node */
export function trafficOf({ access, settings }: Pick<SideParts, 'access' | 'settings'>): Traffic {
  const clientOf = (request: IncomingMessage): string => {
    const sender = access.find(request.headers.authorization, request.socket);
    return clientName(sender, settings.proxies.addressOf(request));
  };
  return new Traffic(() => settings.requestMemoryBytes, clientOf);
}

function frontParts(
  parts: SideParts & Pick<FrontParts, 'shown'>,
  side: Side,
  upgrade: UpgradeListener | null,
): FrontParts {
  const { accessLog, counts, node, settings, shown, tls } = parts;
  return {
    log: parts.log,
    counts,
    shown,
    logsRequests: () => settings.logsRequests,
    admission: settings,
    refuse: (error, request, response) => answerErrorDirectly(parts, error, request, response),
    rawAnswer: (problem, request) =>
      rawProblem(problem, answerHeaders(node, settings.allowedOrigins, request?.headers ?? null)),
    arrived:
      accessLog === null ? null : (request, response) => accessLog.request(request, response, shown(request)),
    refused:
      accessLog === null ? null : (request, status) => accessLog.refused(request, shown(request), status),
    upgrade,
    tls: tls?.options ?? null,
    places: placeRules(parts.access, side),
  };
}

/** @returns on the main listener every valid token, JWT or certificate counts, on the one for administrators those that let him do something there */
function placeRules(access: Access, side: Side): PlaceRules {
  const isMain = side === 'all' || side === 'main';
  const isKnown = ({ headers, socket }: IncomingMessage): boolean => {
    const sender = access.find(headers.authorization, socket);
    if (sender === null) return false;
    return isMain ? sender.id !== ANONYMOUS : side === 'admin' && sender.has('metrics');
  };
  return { isKnown, endsStrangers: !isMain };
}
