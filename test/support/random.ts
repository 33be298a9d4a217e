/** Random numbers that a seed repeats: `PSYNCD_SEED=N`. */
export interface Seeded {
  readonly seed: number;
  /** In [0, 1). */
  random(): number;
}

/** @param seed a whole number; without one, that of the environment, or a new one */
export function seeded(seed = Number(process.env.PSYNCD_SEED ?? Date.now() % 1_000_000)): Seeded {
  let state = seed >>> 0;
  // mulberry32
  const random = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return { seed, random };
}
