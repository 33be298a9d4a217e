/** Flags that may be given several times. */

/** Collects the values of a repeatable flag. */
export function gathered(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

/** Joins the values of a repeatable flag with commas. */
export function joined(value: string, before?: string): string {
  return before === undefined ? value : `${before},${value}`;
}
