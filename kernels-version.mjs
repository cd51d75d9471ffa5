// What measurements of kernels hold for (src/gpu/tuning-table.ts): the kernels, and what lists and dispatches them, as code: the ops, and
// what all of them are cut into dispatches by. Comments, white space and types decide nothing, so nobody's measurements are void
// because of them.
import { createHash } from "node:crypto";
import { transform } from "esbuild";

/**
 * What decides of every op how its kernels are dispatched: windows, grids, how much a
 * dispatch may do, which operands are packed before.
 */
export const DISPATCHING = ["src/plan/dispatch.ts", "src/plan/pack-operands.ts", "src/plan/windows.ts"];

/** A kernel's text without comments, a space where there was white space. */
const bare = (wgsl) =>
  wgsl
    .replace(/\/\*[^]*?\*\/|\/\/(?!!).*$/gm, " ")
    .replace(/\s+/g, " ")
    .trim();

/**
 * @param kernels WGSL by name
 * @param ops TypeScript of the ops and of DISPATCHING, by path or in any other order that stays
 * @returns {Promise<string>} 12 hexadecimal digits
 */
export async function kernelsVersion(kernels, ops) {
  const version = createHash("sha256");
  for (const { name, source } of kernels) version.update(`${name}\0${bare(source)}\0`);
  // Statements and names stay as they are.
  for (const source of ops)
    version.update(
      `${(await transform(source, { loader: "ts", target: "es2022", minifyWhitespace: true, legalComments: "none" })).code}\0`,
    );
  return version.digest("hex").slice(0, 12);
}
