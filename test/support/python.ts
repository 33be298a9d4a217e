/** A Python with `websockets`, which the examples in Python need. */
import { execFileSync } from 'node:child_process';

/** CI installs it, and says so; elsewhere what is not there cannot be tested. */
const MUST_RUN = process.env.PSYNCD_TEST_EXAMPLES === 'all';
const FOUND = ['python3', '/usr/bin/python3'].find(hasWebsockets);
/** Command of the Python that the tests run. */
export const PYTHON = FOUND ?? 'python3';
/** Why the tests that need it are skipped; false: they run. */
export const WITHOUT_PYTHON = FOUND === undefined && !MUST_RUN && 'there is no python3 with websockets';

function hasWebsockets(python: string): boolean {
  try {
    execFileSync(python, ['-c', 'import websockets'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
