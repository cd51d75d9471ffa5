/** What differs between what a run was begun with and what it is to go on with: value by value, each by the name of its place. */

/** Told by name; more are counted. */
const MOST = 8;
const MOST_LETTERS = 60;

type Step = string | number;

/**
 * `stage 2: losses.kl (1e-6 then, 1e-4 now)` for every value that is not the same. Lists at the top are of the run's stages, an entry each.
 */
export function differences(before: Readonly<Record<string, unknown>>, now: Readonly<Record<string, unknown>>): string[] {
  const staged = [before, now].some(({ stages }) => Array.isArray(stages) && stages.length > 1);
  const found = leaves(before, now, []).map(({ path, then, now }) => `${placeOf(path, staged)} (${shown(then)} then, ${shown(now)} now)`);
  return found.length > MOST ? [...found.slice(0, MOST), `${found.length - MOST} more`] : found;
}

interface Difference {
  readonly path: readonly Step[];
  readonly then: unknown;
  readonly now: unknown;
}

function leaves(then: unknown, now: unknown, path: readonly Step[]): Difference[] {
  // Nothing is told in two ways: by null, and by leaving it out.
  if (JSON.stringify(then ?? null) === JSON.stringify(now ?? null)) return [];
  if (isRecord(then) && isRecord(now))
    return [...new Set([...Object.keys(then), ...Object.keys(now)])].flatMap((key) => leaves(then[key], now[key], [...path, key]));
  // Of lists of numbers or names both are shown whole.
  if (Array.isArray(then) && Array.isArray(now) && path.length === 1 && then.length === now.length)
    return then.flatMap((value, i) => leaves(value, now[i], [...path, i]));
  return [{ path, then, now }];
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function placeOf([first, second, ...rest]: readonly Step[], staged: boolean): string {
  if (typeof second !== "number") return [first, ...(second === undefined ? [] : [second]), ...rest].join(".");
  const own = first === "stages" ? rest : [first, ...rest];
  return `${staged ? `stage ${second + 1}: ` : ""}${own.join(".")}`;
}

function shown(value: unknown): string {
  if (value === undefined || value === null) return "nothing";
  if (Array.isArray(value) && value.length > 0 && value.every(isRecord)) return `${value.length}`;
  const text = JSON.stringify(value);
  return text.length > MOST_LETTERS ? `${text.slice(0, MOST_LETTERS - 3)}...` : text;
}
