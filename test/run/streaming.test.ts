/** Weights that are brought in every run: the same bytes as with weights that stay, however little memory they share. */
import { describe, expect, test } from "vitest";
import { LAYERS, MODELS, same } from "../support/streamed-models.ts";

describe.each(Object.keys(MODELS))("%s", (name) => {
  const model = MODELS[name]!;
  const resident = model.run({});

  // From the least that one step can do with, to more than there is.
  test.each([0.01, 1, 1.5, 2, 3, LAYERS, LAYERS + 3])("streamed through %s slots gives the bytes of resident weights", async (slots) => {
    const want = await resident;
    model.weights.reads.clear();
    expect(same(await model.run({ stream: () => true, slots }), want)).toBe(true);
    const most = Math.max(...model.weights.reads.values());
    if (name !== "t5") expect(most > 1).toBe(slots <= LAYERS);
  });

  test("streamed in part gives the bytes of resident weights", async () => {
    const want = await resident;
    for (const part of [/\.[13]\./, /bias$/]) {
      const stream = ({ names }: { names: readonly string[] }) => part.test(names[0]!);
      expect(same(await model.run({ stream }), want)).toBe(true);
    }
  });

  test("weights that stay on the device as they are stored, and are unpacked before their use, give the same bytes", async () => {
    const want = await resident;
    model.weights.reads.clear();
    // Matrices alone: vectors are read by kernels as they are.
    const asStored = ({ shape }: { shape: readonly number[] }) => (shape.length > 1 ? ("f32" as const) : null);
    for (const slots of [0.01, 2]) expect(same(await model.run({ asStored, slots }), want)).toBe(true);
    expect(Math.max(...model.weights.reads.values())).toBe(2);
    // Some of them, while others are streamed.
    const stream = ({ names }: { names: readonly string[] }) => /\.[13]\./.test(names[0]!);
    expect(same(await model.run({ asStored, stream, slots: 1.5 }), want)).toBe(true);
  });
});
