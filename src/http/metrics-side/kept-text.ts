/** The short cut of scrapes that get the last text: most of them, if there are very many. */
import { formatPosition } from '../../replication/position.ts';
import { noteRoute } from '../../web/record/request-counts.ts';
import { NO_SNIFFING, NOT_KEPT, OWN_PAGES_ONLY } from '../answer-headers.ts';
import type { Handler } from '../fast-path/in-order.ts';
import type { AskedNode } from './asked-node.ts';

const PATH = '/metrics';

/** @returns a handler that answers plain scrapes with the last text as long as that is to be used, and leaves everything else to `long` */
export function keptText(node: AskedNode, long: Handler): Handler {
  return {
    overlap: long.overlap,
    handle: (request, response) => {
      const { headers, method, url } = request;
      const hasBody = headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined;
      const site = headers['sec-fetch-site'];
      const isPlain =
        method === 'GET' && url === PATH && !hasBody && headers.expect === undefined && site === undefined;
      const text = isPlain && !node.closing ? node.keptText : null;
      if (text === null) return long.handle(request, response);
      noteRoute(response, PATH);
      response.writeHead(200, {
        [NO_SNIFFING[0]]: NO_SNIFFING[1],
        [OWN_PAGES_ONLY[0]]: OWN_PAGES_ONLY[1],
        'content-type': text.contentType,
        [NOT_KEPT[0]]: NOT_KEPT[1],
        'psync-position': formatPosition(node.position),
        'psync-role': node.role,
        'content-length': text.bytes.length,
      });
      response.end(text.bytes);
      return 'reads';
    },
  };
}
