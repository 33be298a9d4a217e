/**
 * Where a worker thread's module is: beside this one, with the extension that this one has (`.ts` in a checkout,
 * `.js` in the package).
 */
export function workerUrl(name: string): URL {
  return new URL(`./${name}${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url);
}
