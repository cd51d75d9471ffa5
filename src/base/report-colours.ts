/**
 * The colours of reports, in the light and in the dark, as the reader's system asks. A report is one file without a script: what is drawn
 * names its colour, and the page's style says what that is.
 */

/** Names that `var()` takes. The six hues tell things apart; those of text have a contrast of 4.5 and more on the page. */
const COLOURS = {
  page: ["#ffffff", "#14181f"],
  text: ["#1f2937", "#e5e7eb"],
  soft: ["#5b6472", "#a3adbb"],
  grid: ["#e5e7eb", "#2b3442"],
  mark: ["#9ca3af", "#6b7686"],
  blue: ["#2563eb", "#4f8ff7"],
  sky: ["#93c5fd", "#a9d2ff"],
  green: ["#16a34a", "#4ade80"],
  amber: ["#d97706", "#f5b942"],
  red: ["#dc2626", "#f87171"],
  violet: ["#7c3aed", "#a78bfa"],
  /** Shots of a film, in turn. */
  odd: ["#cbd5e1", "#334155"],
  even: ["#94a3b8", "#64748b"],
  /** How light a treemap's tiles are, under text. */
  tile: ["84%", "30%"],
} as const satisfies Readonly<Record<string, readonly [light: string, dark: string]>>;

export type ReportColour = keyof typeof COLOURS;

/** A colour as CSS and SVG's attributes take it. */
export const colour = (name: ReportColour): string => `var(--${name})`;

const scheme = (dark: 0 | 1): string =>
  Object.entries(COLOURS)
    .map(([name, values]) => `--${name}: ${values[dark]}`)
    .join("; ");

/** What a report's style begins with. */
export const REPORT_COLOURS = `:root { color-scheme: light dark; ${scheme(0)} }
@media (prefers-color-scheme: dark) { :root { ${scheme(1)} } }`;
