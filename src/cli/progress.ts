/** Progress of long work: a bar on a terminal, a line now and then when there is none. */
import { Presets, SingleBar } from 'cli-progress';

export interface Progress {
  /** @param detail a few words that stand behind the bar */
  update(done: number, detail?: string): void;
  stop(): void;
}

const LINE_EVERY_MS = 2_000;

/** @param total in the same unit as `done` */
export function progress(label: string, total: number): Progress {
  return process.stderr.isTTY ? bar(label, total) : lines(label, total);
}

function bar(label: string, total: number): Progress {
  const single = new SingleBar(
    {
      format: `${label} {bar} {percentage}% {detail}`,
      hideCursor: true,
      stream: process.stderr,
    },
    Presets.shades_classic,
  );
  single.start(total, 0, { detail: '' });
  return {
    update: (done, detail = '') => single.update(Math.min(done, total), { detail }),
    stop: () => single.stop(),
  };
}

function lines(label: string, total: number): Progress {
  let lastAt = Date.now();
  return {
    update: (done, detail = '') => {
      if (Date.now() - lastAt < LINE_EVERY_MS) return;
      lastAt = Date.now();
      const percent = total === 0 ? 100 : Math.floor((100 * done) / total);
      process.stderr.write(`${label} ${percent}% ${detail}\n`);
    },
    stop: () => undefined,
  };
}
