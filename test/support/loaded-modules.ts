/** Preloaded into a node (`--import`): answers any message from its parent with the names of what it has loaded so far. */
import { createRequire } from 'node:module';

const { cache } = createRequire(import.meta.url);
/** Node's own: `NativeModule internal/deps/undici/undici`. Undocumented, but there is nothing else. */
const { moduleLoadList } = process as NodeJS.Process & { readonly moduleLoadList: readonly string[] };

process.on('message', () => process.send?.([...Object.keys(cache), ...moduleLoadList]));
