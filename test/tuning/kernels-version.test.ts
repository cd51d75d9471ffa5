/** For which kernels a table of measurements holds: what changes code changes it, and nothing else does. */
import { readFileSync, readdirSync } from "node:fs";
import { expect, test } from "vitest";

const ROOT = new URL("../../", import.meta.url);
const { DISPATCHING, kernelsVersion } = (await import(new URL("kernels-version.mjs", ROOT).href)) as {
  DISPATCHING: string[];
  kernelsVersion(kernels: { name: string; source: string }[], ops: string[]): Promise<string>;
};
const read = (path: string): string => readFileSync(new URL(path, ROOT), "utf8");

/** The versions before and after a change of a kernel's and of an op's text. */
const kernel = (source: string) => kernelsVersion([{ name: "silu", source }], [read("src/ops/add.ts")]);
const op = (source: string) => kernelsVersion([{ name: "silu", source: read("kernels/elementwise/silu.wgsl") }], [source]);
const files = { kernel: [kernel, read("kernels/elementwise/silu.wgsl")], op: [op, read("src/ops/add.ts")] } as const;

/** Replaces one place, which must be there. */
function edited(text: string, from: string | RegExp, to: string): string {
  const out = text.replace(from, to);
  expect(out).not.toBe(text);
  return out;
}

test.each(Object.entries(files))("comments and white space of a %s change nothing", async (_, [version, text]) => {
  const before = await version(text);
  expect(before).toMatch(/^[0-9a-f]{12}$/);
  expect(await version(`// Another first line.\n${text}`)).toBe(before);
  expect(await version(edited(text, /\n {2}/g, "\n\t\t"))).toBe(before);
  expect(await version(edited(text, /;\n/g, "; // why\n\n"))).toBe(before);
  expect(await version(edited(text, /;\n/g, "; /* why,\n   // in two lines */\n"))).toBe(before);
  expect(await version(text.replace(/^(\/\/(?!!)|\/\*\*).*\n/gm, ""))).toBe(before);
});

test("an op's types change nothing", async () => {
  const text = read("src/ops/add.ts");
  expect(await op(edited(text, "export const addOp: Op<", "interface Unused { a: 1 }\nexport const addOp: Op<"))).toBe(await op(text));
});

test.each([
  ["kernel", "1.0 + exp", "2.0 + exp"],
  ["kernel", "i >= params.count4", "i > params.count4"],
  ["kernel", "//! specialise\n", "//! specialise\nconst UNROLL: bool = true;\n"],
  ["op", "rows.count / 64", "rows.count / 32"],
  ["op", 'name: "add"', 'name: "sum"'],
  ["op", "rowView(b, rows, 4)", "rowView(b, rows, 8)"],
] as const)("code of a %s changes it: %j", async (which, from, to) => {
  const [version, text] = files[which];
  expect(await version(edited(text, from, to))).not.toBe(await version(text));
});

test("every op and kernel counts, and how they are dispatched, and the build has the version of all", async () => {
  const { allKernels } = await import("#kernels");
  const { kernelsVersion: built } = await import("../../build/kernels-version.ts");
  const ops = readdirSync(new URL("src/ops", ROOT), { encoding: "utf8", recursive: true })
    .filter((name) => name.endsWith(".ts"))
    .sort()
    .map((name) => `src/ops/${name}`)
    .concat(DISPATCHING)
    .map(read);
  const kernels = allKernels.map(({ name, source }) => ({ name, source }));
  expect(await kernelsVersion(kernels, ops)).toBe(built);
  expect(await kernelsVersion(kernels.slice(1), ops)).not.toBe(built);
  expect(await kernelsVersion(kernels, ops.slice(1))).not.toBe(built);
  // How work is cut into dispatches decides which kernel is fastest.
  const dispatching = read("src/plan/dispatch.ts");
  expect(
    await kernelsVersion(
      kernels,
      ops.map((text) => (text === dispatching ? edited(text, "hardware: 4e11", "hardware: 4e10") : text)),
    ),
  ).not.toBe(built);
});
