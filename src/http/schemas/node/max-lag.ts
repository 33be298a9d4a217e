/** `maxLag` of `/readyz`: a time, or a number of bytes. */
import type { MaxLag } from '../../../node/ports/max-lag.ts';

const SECONDS: Readonly<Record<string, number>> = { ms: 0.001, s: 1, m: 60, h: 3_600 };
const BYTES: Readonly<Record<string, number>> = { b: 1, kb: 1024, mb: 1024 ** 2, gb: 1024 ** 3 };

/** @param text that matches `MAX_LAG_PATTERN` */
export function parseMaxLag(text: string): MaxLag {
  const number = Number.parseFloat(text);
  const unit = text.replace(/^[\d.]+/, '');
  const seconds = SECONDS[unit];
  return seconds === undefined ? { bytes: number * (BYTES[unit] ?? 1) } : { seconds: number * seconds };
}
