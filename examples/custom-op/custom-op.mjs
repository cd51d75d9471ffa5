// An op of your own, with a kernel of your own, in a graph beside the engine's ops: y = swish(x · wᵀ + b)
import { readFile } from "node:fs/promises";
import {
  CogwheelError,
  defineKernel,
  dispatch,
  foldGrid,
  Gpu,
  Graph,
  matmul,
  rowView,
  rowWindows,
  runGraph,
  storedValues,
} from "cogwheel-webgpu/graph";

const kernel = defineKernel("swish", await readFile(new URL("swish.wgsl", import.meta.url), "utf8"));

/** The op: what it checks, what it costs, and the dispatches that carry it out (docs/add-an-op.md). */
const swishOp = {
  name: "swish",
  infer({ x }) {
    if (x.size % 4) throw new CogwheelError("swish", `x must have a multiple of 4 values, got ${x}; pad it`);
    return { y: { shape: x.shape, dtype: "f32" } };
  },
  cost: ({ inputs: { x }, outputs: { y } }) => ({ flops: 5 * x.size, bytes: x.bytes + y.bytes }),
  lower: ({ inputs: { x }, attrs: { beta }, outputs: { y } }, { caps }) =>
    // Windows keep a large tensor within what the adapter can bind at once.
    rowWindows(caps, x.size / 4, [(4 * x.bytes) / x.size, 16]).map((rows) =>
      dispatch({
        kernel,
        types: { X: x.dtype },
        params: { count4: rows.count, beta },
        bindings: { x: rowView(x, rows, 4), y: rowView(y, rows, 4) },
        grid: foldGrid(Math.ceil(rows.count / kernel.overrides.WG), caps),
      }),
    ),
};
const swish = (x, beta) => x.graph.record(swishOp, { x }, { beta }).y;

const [rows, inner, outer] = [5, 8, 12];
const graph = new Graph("example");
const x = graph.input("x", [rows, inner]);
graph.output("y", swish(matmul(x, graph.weight("w", [outer, inner]), { bias: graph.weight("b", [outer]) }), 1.5));

const values = (n, shift) => Float32Array.from({ length: n }, (_, i) => Math.sin(i + shift));
const given = { x: values(rows * inner, 0), w: values(outer * inner, 1), b: values(outer, 2) };
const gpu = await Gpu.open();
const weights = { type: () => "f32", stored: (name) => storedValues(name, given[name]) };
const { y } = await runGraph(gpu, graph, { x: given.x }, weights);

// The same in plain arithmetic.
let worst = 0;
for (let r = 0; r < rows; r++)
  for (let n = 0; n < outer; n++) {
    let sum = given.b[n];
    for (let k = 0; k < inner; k++) sum += given.x[r * inner + k] * given.w[n * inner + k];
    worst = Math.max(worst, Math.abs(sum / (1 + Math.exp(-1.5 * sum)) - y[r * outer + n]));
  }
console.log(`${gpu.name}: ${y.length} values, off by at most ${worst.toExponential(1)}`);
if (!(worst < 1e-5)) process.exitCode = 1;
await gpu[Symbol.asyncDispose](); // frees the GPU's memory, and lets the process end
