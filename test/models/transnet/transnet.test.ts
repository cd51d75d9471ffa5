/** TransNet V2 over a film: windows as the package cuts them, and files that are none of its weights. Its arithmetic: reference cases. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { readCase } from "../../../src/check/reference/case.ts";
import { transNetConfigOf } from "../../../src/models/transnet/config.ts";
import { transNetGraph, transNetInputs } from "../../../src/models/transnet/forward.ts";
import { TransNet, TRANSNET_FRAME_BYTES as BYTES } from "../../../src/models/transnet/model.ts";
import { runGraph } from "../../../src/run/run-graph.ts";
import { storedValues } from "../../../src/run/weight-provider.ts";
import { memorySource } from "../../../src/sources/memory.ts";
import { testGpu } from "../../support/gpu.ts";
import { smallTransNet } from "../../support/transnet.ts";

test("a film is scored in windows of 100, of which the middle 50 count, its ends repeated around it", { timeout: 60_000 }, async () => {
  const gpu = await testGpu();
  const c = await readCase(new Uint8Array(readFileSync("test/reference/cases/TransNetV2/f1_s2.safetensors")), "f1_s2");
  const film = Uint8Array.from(c.inputs.get("inputs")!.data);
  const frames = film.length / BYTES;
  const frame = (i: number): Uint8Array => film.subarray(i * BYTES, (i + 1) * BYTES);
  // predict_frames of the package.
  const after = 25 + 50 - (frames % 50);
  const padded = [
    ...Array.from({ length: 25 }, () => frame(0)),
    ...Array.from({ length: frames }, (_, i) => frame(i)),
    ...Array.from({ length: after }, () => frame(frames - 1)),
  ];
  const config = transNetConfigOf((name) => c.weights.get(name)?.shape, "the case");
  const provider = {
    type: () => "f32" as const,
    stored: (name: string) => storedValues(name, c.weights.get(name)!.data, c.weights.get(name)!.shape),
  };
  const wanted: number[] = [];
  for (let at = 0; at + 100 <= padded.length; at += 50) {
    const { pixels, histograms } = transNetInputs(Uint8Array.from(padded.slice(at, at + 100).flatMap((one) => [...one])));
    const { logits } = await runGraph(gpu, transNetGraph(config, 100), { pixels, histograms }, provider);
    for (let i = 25; i < 75; i++) wanted.push(1 / (1 + Math.exp(-logits![4 * i]!)));
  }
  using network = await TransNet.open(gpu, memorySource({ weights: await smallTransNet() }, "small"), "weights");
  const asked: string[] = [];
  const { oneHot, manyHot } = await network.score(frames, async (from, to) => {
    asked.push(`${from} ${to}`);
    return await Promise.resolve(film.subarray(from * BYTES, to * BYTES));
  });
  expect(asked).toEqual([`0 55`, `25 55`]);
  expect([...oneHot]).toEqual([...Float32Array.from(wanted.slice(0, frames))]);
  expect(manyHot.every((p) => p > 0 && p < 1)).toBe(true);
  await expect(network.score(3, () => Promise.resolve(new Uint8Array(7)))).rejects.toThrow(/frames must be 3888 bytes each, got 7 for 3/);
});

test("weights of another network, and half of this one's, are refused by name", async () => {
  const gpu = await testGpu();
  const open = (weights: Uint8Array<ArrayBuffer>): Promise<TransNet> => TransNet.open(gpu, memorySource({ weights }, "given"), "weights");
  const other = await smallTransNet((name) => name.startsWith("frame_sim_layer"));
  await expect(open(other)).rejects.toThrow(/\[transnet\].* got other tensors; give/);
  const half = await smallTransNet((name) => name !== "cls_layer2.weight");
  await expect(open(half)).rejects.toThrow(/cls_layer2.weight must be \[1, 10\], got none/);
  await expect(open(new TextEncoder().encode("<html>nothing</html> of the kind"))).rejects.toThrow(/must be tensors that torch saved/);
});
