/** Work on many items in parts, with a rest between them, so that the page stays responsive. */

/** Time after which the work rests, in milliseconds. */
const PART_MS = 8;

/**
 * @param items from outside: they may never end
 * @param act is called with each item
 * @param rest called with what `act` has returned last; the work goes on when it resolves
 * @throws what `items`, `act` and `rest` throw
 */
export async function inParts<Item, Result>(
  items: Iterable<Item>,
  act: (item: Item) => Result,
  rest: (last: Result) => Promise<unknown>,
): Promise<void> {
  let until = performance.now() + PART_MS;
  for (const item of items) {
    const last = act(item);
    if (performance.now() < until) continue;
    await rest(last);
    until = performance.now() + PART_MS;
  }
}
