/** Shows the progress of long work: a bar on a terminal, otherwise a line now and then. */
import { Presets, SingleBar } from 'cli-progress';

export interface Progress {
  /** @param detail a few words after the bar */
  update(done: number, detail?: string): void;
  stop(): void;
}

const LINE_EVERY_MS = 2_000;
/** Time after which a task is long enough to show its progress, in milliseconds. */
const SHOWN_AFTER_MS = 500;

/** @param total in the same unit as `done`; null: unknown, so only the detail is shown, without a bar */
export function progress(label: string, total: number | null): Progress {
  return process.stderr.isTTY ? bar(label, total) : lines(label, total);
}

function bar(label: string, total: number | null): Progress {
  const single = new SingleBar(
    {
      format: total === null ? `${label} {detail}` : `${label} {bar} {percentage}% {detail}`,
      hideCursor: true,
      stream: process.stderr,
    },
    Presets.shades_classic,
  );
  single.start(total ?? 0, 0, { detail: '' });
  return {
    update: (done, detail = '') => single.update(Math.min(done, total ?? done), { detail }),
    stop: () => single.stop(),
  };
}

function lines(label: string, total: number | null): Progress {
  let lastAt = performance.now();
  return {
    update: (done, detail = '') => {
      if (performance.now() - lastAt < LINE_EVERY_MS) return;
      lastAt = performance.now();
      process.stderr.write(`${label} ${percentOf(done, total)}${detail}\n`);
    },
    stop: () => undefined,
  };
}

function percentOf(done: number, total: number | null): string {
  if (total === null) return '';
  return `${total === 0 ? 100 : Math.floor((100 * done) / total)}% `;
}

/**
 * Shows how far a task is that reads or writes so many bytes; nothing if it is done at once.
 * @returns what hears of it, and what ends the bar
 */
export function reporter(label: string): {
  readonly report: (done: number, total: number) => void;
  readonly stop: () => void;
} {
  let shown: Progress | null = null;
  const startedAt = performance.now();
  return {
    report: (done, total) => {
      if (shown === null && performance.now() - startedAt < SHOWN_AFTER_MS) return;
      shown ??= progress(label, total);
      shown.update(done, `${(done / 1024 ** 2).toFixed(1)} MiB`);
    },
    stop: () => shown?.stop(),
  };
}
