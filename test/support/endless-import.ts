/** An import that is still going on whenever the test looks, however fast the machine is. */
import { setImmediate as nextTurn } from 'node:timers/promises';

/**
 * Sends these lines over and over.
 * @returns the node's answer, which comes before the body is over; null: the connection broke
 */
export async function endlessImport(url: string, lines: Uint8Array): Promise<Response | null> {
  let isOver = false;
  const body = new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      // When its connection is gone Node's fetch takes what it is given at once, and without an end.
      await nextTurn();
      if (isOver) controller.close();
      else controller.enqueue(new Uint8Array(lines));
    },
  });
  try {
    return await fetch(`${url}/v1/import`, {
      method: 'POST',
      body,
      duplex: 'half',
      headers: { 'content-type': 'application/x-ndjson' },
    });
  } catch {
    return null;
  } finally {
    isOver = true;
  }
}
