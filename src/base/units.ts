/** Figures as messages and tables write them, and as a command or a page is told them. */

/** Bytes in MB or, from a thousand of those on, in GB with one digit more. */
export const bytesText = (bytes: number, digits = 0): string =>
  bytes >= 1e9 ? `${(bytes / 1e9).toFixed(digits + 1)} GB` : `${(bytes / 1e6).toFixed(digits)} MB`;

/** The unit that a column or an axis has whose largest value is `most`, and bytes in it. */
export const bytesUnit = (most: number): { readonly unit: "MB" | "GB"; readonly bytes: number } =>
  most >= 1e9 ? { unit: "GB", bytes: 1e9 } : { unit: "MB", bytes: 1e6 };

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  k: 1e3,
  m: 1e6,
  g: 1e9,
  t: 1e12,
  ki: 2 ** 10,
  mi: 2 ** 20,
  gi: 2 ** 30,
  ti: 2 ** 40,
};

/** Bytes that a text such as `4GB`, `512 MB`, `3.5GiB` or `6g` says; undefined where it says none. */
export function bytesOfText(text: string): number | undefined {
  const [, count, unit] = /^\s*(\d+(?:\.\d+)?)\s*([kmgt]i?|)b?\s*$/i.exec(text) ?? [];
  return count === undefined ? undefined : Math.floor(Number(count) * UNITS[unit!.toLowerCase()]!);
}
