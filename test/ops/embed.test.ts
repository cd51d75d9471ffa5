/** The ops around the transformer's blocks: patches, positions, timesteps, and the small elementwise ones. */
import { expect, test } from "vitest";
import { patchify } from "../../src/ops/patchify.ts";
import { silu } from "../../src/ops/silu.ts";
import { expectClose } from "../support/compare.ts";
import { runGraph } from "../support/gpu.ts";
import { testCases } from "../support/sweep.ts";

for (const op of ["patchify", "join_tokens", "timestep_embedding", "silu", "pad_columns"]) testCases(op);

test("sizes that patches do not divide are refused", async () => {
  await expect(runGraph((g) => ({ y: patchify(g.input("x", [1, 3, 4, 4, 4]), { patchSize: 2, patchSizeT: 2 }) }))).rejects.toThrow(
    /latent frames must be a multiple of 2/,
  );
});

test("silu at both ends", async () => {
  const x = Float32Array.of(-1e30, -200, -1, -0.5, 0, 0.5, 1, 1e30);
  const out = await runGraph((g) => ({ y: silu(g.input("x", [8])) }), { inputs: { x } });
  expect(out["y"]!.every(Number.isFinite)).toBe(true);
  expectClose(
    out["y"]!.subarray(1),
    Array.from(x.subarray(1), (v) => v / (1 + Math.exp(-v))),
    1e-6,
  );
});
