/**
 * Finds the module of a worker thread: beside the module that starts it, with the same extension (`.ts` in a checkout,
 * `.js` in the package).
 * @param from `import.meta.url` of the module that starts the thread
 * @param name of the thread's module, without its extension
 */
export function workerUrl(from: string, name: string): URL {
  return new URL(`./${name}${from.endsWith('.ts') ? '.ts' : '.js'}`, from);
}
