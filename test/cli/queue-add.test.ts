/** `cogwheel queue add`: adapters that go with the job, and what is refused before there is one. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openEmbedded } from "../../src/jobs/embedded-node.ts";
import { JobStore } from "../../src/jobs/store.ts";
import { readOffer } from "../../src/pipelines/cogvideox/offer.ts";
import { useCommand } from "../support/command.ts";
import { MODEL } from "../support/job-server.ts";
import { fileOf, pairs, plain } from "../support/lora.ts";

const { folder, run } = useCommand();
const add = (...args: string[]) => run(["queue", "add", "a red circle", "--queue", "jobs", ...args]);

test("adapters go with the job; what the model cannot make, and adapters of another, are refused before it is there", async () => {
  const { num_attention_heads: heads, attention_head_dim: size } = (await readOffer(MODEL)).configs.transformer;
  const bytesOf = (width: number) => new Uint8Array(fileOf(pairs({ "transformer_blocks.0.attn1.to_q": [width, width] }, 2, 1, plain)));
  writeFileSync(join(folder, "water.safetensors"), bytesOf(heads * size));
  writeFileSync(join(folder, "other.safetensors"), bytesOf(24));
  for (const [args, rule] of [
    [["--size", "65x64"], /multiples of 16, got width 65; the nearest is 64/],
    [["--frames", "10"], /8·k or 8·k \+ 1 frames, got 10; the nearest are 8, 9, 16, 17/],
    [["--model", MODEL, "--frames", "10"], /got 10; the nearest are/],
    [["--lora", "other.safetensors"], /\[lora\] other/],
    [["--lora", "missing.safetensors"], /missing\.safetensors must be a readable file/],
    [["--video", "water.safetensors"], /water|video/],
  ] as const) {
    const refused = await add(...args);
    expect(refused.code, args.join(" ")).not.toBe(0);
    expect(refused.err, args.join(" ")).toMatch(rule);
  }
  const made = await add("--lora", "water.safetensors:0.5", "--frames", "9", "--samples", "2");
  expect(made.err).toBe("");
  // Of a model that is elsewhere nothing is known here.
  const elsewhere = await add("--model", "CogVideoX-9b", "--frames", "10");
  expect(elsewhere.code, elsewhere.err).toBe(0);
  await using backend = await openEmbedded(join(folder, "jobs"));
  const store = new JobStore(backend);
  expect(await store.ids()).toEqual([...made.out.trim().split("\n"), elsewhere.out.trim()]);
  for (const id of made.out.trim().split("\n")) {
    const { request } = (await store.get(id))!;
    expect(request.adapters).toEqual([{ name: "water", scale: 0.5, blob: expect.stringMatching(/^adapter\.[0-9a-f]{64}$/) }]);
    expect(await backend.blobs.get(request.adapters![0]!.blob)).toEqual(bytesOf(heads * size));
  }
}, 120_000);
