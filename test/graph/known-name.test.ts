/** A name that an op does not know is refused: types do not keep JavaScript from passing one, and it would compute something else. */
import { expect, test } from "vitest";
import { Graph } from "../../src/graph/graph.ts";
import { conv3d, type Conv3dOptions } from "../../src/ops/conv3d.ts";
import { groupNormApply } from "../../src/ops/group_norm_apply.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { qkNormRope } from "../../src/ops/qk_norm_rope.ts";

const graph = new Graph("names");
const x = graph.input("x", [1, 2, 4, 4, 4]);
const w = graph.weight("w", [4, 4, 3, 3, 3]);
const rows = graph.input("rows", [2, 4, 8]);
const vector = graph.weight("v", [4]);
const norm = graph.weight("norm", [2, 8]);

test.each<[string, string, (name: string) => unknown]>([
  ["conv3d", "padMode must be zeros or replicate", (padMode) => conv3d(x, w, { padMode } as Conv3dOptions)],
  ["conv3d", "padFramesMode must be repeat or zeros", (padFramesMode) => conv3d(x, w, { padFramesMode } as Conv3dOptions)],
  ["conv3d", "upsample must be space or space-time", (upsample) => conv3d(x, w, { upsample } as Conv3dOptions)],
  ["conv3d", "the activation must be silu", (activation) => conv3d(x, w, { activation } as Conv3dOptions)],
  [
    "group_norm_apply",
    "the activation must be silu",
    (activation) => groupNormApply(x, graph.input(`norm ${activation}`, [1, 2, 4]), vector, vector, { activation } as object),
  ],
  ["matmul", "the activation must be gelu or silu", (activation) => matmul(rows, graph.weight("m", [8, 8]), { activation } as object)],
  [
    "qk_norm_rope",
    "the kind of norm must be layer_norm or rms_norm",
    (kind) => qkNormRope(rows, rows, { norm: { q: norm, k: norm, eps: 0, kind: kind as "rms_norm" } }),
  ],
])("%s: %s", (op, rule, record) => {
  const nodes = graph.nodes.length;
  expect(() => record("other")).toThrow(`[${op}] ${rule}, got "other"; leave it out for the default`);
  expect(graph.nodes).toHaveLength(nodes);
});
