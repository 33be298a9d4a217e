/**
 * Finds the module of a worker thread: in a checkout beside the module that starts it, in the built program beside all other files
 * (tools/program.ts).
 * @param from `import.meta.url` of the module that starts the thread
 * @param name of the thread's module, without its extension
 */
export function workerUrl(from: string, name: string): URL {
  return new URL(`./${name}${from.endsWith('.ts') ? '.ts' : '.js'}`, from);
}
