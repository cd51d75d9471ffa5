/**
 * Subgroup matrices in plain WGSL, so that kernels that use them run on any adapter, with matrices and subgroups of any size. Slow: the
 * first lane of a subgroup holds its matrices and does all that is done with them, in its own order, which no barrier has to keep;
 * what it stores is read by others behind a barrier of the kernel's.
 */
import type { Kernel } from "../../src/gpu/kernel.ts";
import type { Plan } from "../../src/plan/compile.ts";

/** The extension that kernels with subgroup matrices enable. */
export const MATRICES = "chromium_experimental_subgroup_matrix";

interface Matrix {
  readonly struct: string;
  readonly component: string;
  readonly columns: string;
  readonly rows: string;
}

/** Arguments of a call, split where a comma is in no bracket. */
function split(list: string): string[] {
  const parts = [""];
  let depth = 0;
  for (const c of list) {
    if ("([".includes(c)) depth++;
    if (")]".includes(c)) depth--;
    if (c === "," && depth === 0) parts.push("");
    else parts[parts.length - 1] += c;
  }
  return parts.map((part) => part.trim());
}

/** The kernel without subgroups; `lanes`: of each that it is to believe in. */
export function emulatedKernel(kernel: Kernel, lanes: number): Kernel {
  const matrices = new Map<string, Matrix>();
  // WGSL's order: component type, columns, rows.
  for (const [, kind, component, columns, rows] of kernel.source.matchAll(/subgroup_matrix_(left|right|result)<(\w+), (\w+), (\w+)>/g)) {
    const matrix = { struct: `Matrix_${kind}`, component: component!, columns: columns!, rows: rows! };
    const known = matrices.get(kind!) ?? matrix;
    if (known.columns !== columns || known.rows !== rows || known.component !== component)
      throw new Error(`${kernel.name} must have one type of ${kind} matrices, got ${JSON.stringify([known, matrix])}`);
    matrices.set(kind!, matrix);
  }
  const [left, right, result] = ["left", "right", "result"].map((kind) => matrices.get(kind)!) as [Matrix, Matrix, Matrix];

  const functions = new Map<string, string>();
  /** Where element (r, c) is in a workgroup's array of vec4<u32>; offset and stride count its elements. */
  const place = (layout: string, each: number): string =>
    layout === "row_major" ? `offset + r * stride + c / ${each}u` : `offset + c * stride + r / ${each}u`;
  const inner = (layout: string): string => (layout === "row_major" ? "c" : "r");
  const loop = ({ rows, columns }: Matrix, body: string): string =>
    `if (!matrix_leader) { return; }\nfor (var r = 0u; r < ${rows} * matrix_one; r++) { for ` +
    `(var c = 0u; c < ${columns} * matrix_one; c++) { ${body} } }`;
  const memory = (name: string): void => {
    if (!new RegExp(`var<workgroup> ${name}: array<vec4<u32>,`).test(kernel.source))
      throw new Error(`${kernel.name} must load and store matrices in words of vec4<u32> of the workgroup's, got ${name}`);
  };
  const load = (kind: string, layout: string, from: string): string => {
    memory(from);
    const matrix = matrices.get(kind)!;
    const name = `matrix_load_${kind}_${layout}_${from}`;
    const value =
      matrix.component === "f16"
        ? `unpack2x16float(${from}[${place(layout, 8)}][${inner(layout)} / 2u % 4u])[${inner(layout)} % 2u]`
        : `bitcast<f32>(${from}[${place(layout, 4)}][${inner(layout)} % 4u])`;
    functions.set(
      name,
      `fn ${name}(m: ptr<function, ${matrix.struct}>, offset: u32, stride: ` +
        `u32) {\n${loop(matrix, `(*m).e[r * ${matrix.columns} + c] = ${value};`)}\n}`,
    );
    return name;
  };
  const store = (layout: string, to: string): string => {
    memory(to);
    const name = `matrix_store_${layout}_${to}`;
    functions.set(
      name,
      `fn ${name}(m: ptr<function, ${result.struct}>, offset: u32, stride: u32) ` +
        `{\n${loop(result, `${to}[${place(layout, 4)}][${inner(layout)} % 4u] = bitcast<u32>((*m).e[r * ${result.columns} + c]);`)}\n}`,
    );
    return name;
  };

  // A call that goes over several lines is brought into one.
  const oneLine = (call: string): string =>
    call
      .replace(/\(\s*\n\s*/g, "(")
      .replace(/,?\s*\n\s*\)/g, ")")
      .replace(/\s*\n\s*/g, " ");
  const text = kernel.source.replace(/[^\n]*subgroupMatrix\w+[^;]*;/g, oneLine);
  const lines = text.split("\n").map((line) => {
    if (/^diagnostic\(off, (chromium\.)?subgroup/.test(line)) return "";
    return line
      .replace(/^enable f16, subgroups, chromium_experimental_subgroup_matrix;/, "enable f16;")
      .replace(/@builtin\(subgroup_size\) (\w+): u32,?/, "")
      .replace(
        /(let (\w+)|([^ ]\S*)) = subgroupMatrixLoad<subgroup_matrix_(\w+)<[^>]*>, (\w+)>\(&(\w+), (.*?)\);/,
        (_, __, local: string | undefined, target: string, kind: string, layout: string, from: string, rest: string) =>
          `${local ? `var ${local}: ${matrices.get(kind)!.struct}; ` : ""}${load(kind, layout, from)}(&${local ?? target}, ${rest});`,
      )
      .replace(/(\S+) = subgroupMatrixMultiplyAccumulate\((.*?)\);/, (_, target: string, list: string) => {
        const [a, b, sum] = split(list);
        if (sum !== target) throw new Error(`${kernel.name} must add a product to where it is, got ${target} = … + ${sum}`);
        return `matrix_multiply(&${a}, &${b}, &${target});`;
      })
      .replace(/subgroupMatrixStore<(\w+)>\(&(\w+), (.*?)\);/, (_, layout: string, to: string, list: string) => {
        const [offset, value, stride] = split(list);
        return `${store(layout, to)}(&${value}, ${offset}, ${stride});`;
      })
      .replace(/subgroupShuffleXor\(/g, "lanes_shuffle_xor(")
      .replace(/subgroup_matrix_(left|right|result)<[^>]*>/g, "Matrix_$1");
  });
  const main = lines.findIndex(
    (line, i) =>
      line.endsWith(") {") &&
      lines
        .slice(0, i + 1)
        .join("\n")
        .lastIndexOf("\nfn main(") >
        lines
          .slice(0, i + 1)
          .join("\n")
          .lastIndexOf("}"),
  );
  lines.splice(
    main + 1,
    0,
    `let lanes = ${lanes}u;`,
    "matrix_leader = lane % lanes == 0u;",
    "lanes_index = lane;",
    "matrix_one = min(groups.x, 1u);",
  );
  const source = `${lines.join("\n")}
${[left, right, result].map(({ struct, rows, columns }) => `struct ${struct} { e: array<f32, ${rows} * ${columns}> }`).join("\n")}
const_assert ${left.columns} == ${right.rows} && ${left.rows} == ${result.rows} && ${right.columns} == ${result.columns};
var<private> matrix_leader: bool;
var<private> lanes_index: u32;
var<private> matrix_one: u32;
var<workgroup> lanes_values: array<f32, WG>;
fn lanes_shuffle_xor(value: f32, mask: u32) -> f32 {
workgroupBarrier();
lanes_values[lanes_index] = value;
workgroupBarrier();
return lanes_values[lanes_index ^ mask];
}
fn matrix_multiply(a: ptr<function, ${left.struct}>, b: ptr<function, ${right.struct}>, sum: ptr<function, ${result.struct}>) {
${loop(
  result,
  `var s = (*sum).e[r * ${result.columns} + c]; for (var k = 0u; k < ${left.columns} * matrix_one; k++) ` +
    `{ s = fma((*a).e[r * ${left.columns} + k], (*b).e[k * ${right.columns} + c], s); } (*sum).e[r * ${result.columns} + c] = s;`,
)}
}
${[...functions.values()].join("\n")}`;
  const left_over = /subgroup(?!s?\b)\w*\(|subgroup_matrix|subgroupMatrix/.exec(source);
  if (left_over)
    throw new Error(
      `${kernel.name}: the emulation must know all that the kernel does with subgroups, ` +
        `got ${source.slice(left_over.index, left_over.index + 60)}`,
    );
  return { ...kernel, source, enables: ["f16"] };
}

const made = new Map<string, Kernel>();

/** The plan with its kernels for subgroup matrices emulated; `change`: of their texts, before. */
export function emulatedPlan(plan: Plan, lanes: number, change = (source: string): string => source): Plan {
  // One kernel for each text, for pipelines are kept by kernel.
  const of = (kernel: Kernel): Kernel => {
    if (!kernel.enables.includes(MATRICES)) return kernel;
    const source = change(kernel.source);
    const key = `${lanes} ${source}`;
    if (!made.has(key)) made.set(key, emulatedKernel({ ...kernel, source }, lanes));
    return made.get(key)!;
  };
  return { ...plan, steps: plan.steps.map((step) => ({ ...step, dispatch: { ...step.dispatch, kernel: of(step.dispatch.kernel) } })) };
}
