/**
 * Lints openapi.yaml with the recommended rules of Redocly (redocly.yaml) and of Spectral (`spectral:oas`, where a hint counts as
 * much as an error), without exceptions. Neither linter needs a network.
 *
 * It calls Spectral as a library, because Spectral's command line would bring 90 more packages.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type RulesetDefinition, Spectral } from '@stoplight/spectral-core';
import { oas } from '@stoplight/spectral-rulesets';

const DOCUMENT = fileURLToPath(new URL('../openapi.yaml', import.meta.url));
const REDOCLY = fileURLToPath(new URL('../node_modules/@redocly/cli/bin/cli.js', import.meta.url));

const [redocly, spectral] = [lintWithRedocly(), await lintWithSpectral()];
process.stderr.write([...redocly, ...spectral].map((line) => `${line}\n`).join(''));
process.exitCode = redocly.length + spectral.length === 0 ? 0 : 1;

/** @returns Redocly's output, if it found a mistake; otherwise nothing */
function lintWithRedocly(): readonly string[] {
  const offline = { REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' };
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [REDOCLY, 'lint', '--format=stylish', DOCUMENT],
    {
      cwd: fileURLToPath(new URL('..', import.meta.url)),
      env: { ...process.env, ...offline },
      encoding: 'utf8',
    },
  );
  return status === 0 ? [] : [`Redocly: openapi.yaml\n${stdout}${stderr}`];
}

async function lintWithSpectral(): Promise<readonly string[]> {
  const spectral = new Spectral();
  // The two packages' types do not fit each other under `exactOptionalPropertyTypes`.
  spectral.setRuleset({ extends: [[oas as RulesetDefinition, 'recommended']] });
  const results = await spectral.run(readFileSync(DOCUMENT, 'utf8'));
  return results.map(
    ({ code, message, path, range }) =>
      `Spectral: openapi.yaml:${range.start.line + 1} ${code}: ${message} (${path.join('.')})`,
  );
}
