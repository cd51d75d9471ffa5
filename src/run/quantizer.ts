/** Turns a weight's values, in a buffer on the device, into blocks of 8 or 4 bits there: kernels/weights/quantize_blocks.wgsl. */
import type { Gpu, OwnedBuffer } from "../gpu/gpu.ts";
import { quantizeDispatches, type Quantizing } from "../plan/quantize-weight.ts";
import { bindSteps, encodeStep } from "./steps.ts";

export class Quantizer implements Disposable {
  #owned: Disposable[] = [];
  #room: OwnedBuffer | undefined;

  constructor(private readonly gpu: Gpu) {}

  /** Encodes it. Both buffers must live until the commands are submitted, and so must what this keeps beside them: call `settle` then. */
  async encode(encoder: GPUCommandEncoder, values: GPUBuffer, blocks: GPUBuffer, what: Quantizing): Promise<void> {
    const dispatches = quantizeDispatches(what, this.gpu.caps);
    const pipelines = await Promise.all(dispatches.map(({ kernel, consts }) => this.gpu.pipelines.get(kernel, { consts })));
    const sources = dispatches.map(({ params, grid, x, y }, index) => ({
      pipeline: pipelines[index]!,
      resources: { x: { buffer: values, offset: x.offset, size: x.bytes }, y: { buffer: blocks, offset: y.offset, size: y.bytes } },
      params,
      grid,
      index,
    }));
    const { steps, uniforms } = bindSteps(this.gpu, "quantize", sources);
    if (uniforms) this.#owned.push(uniforms);
    const pass = encoder.beginComputePass({ label: "quantize" });
    for (const [i, step] of steps.entries()) encodeStep(pass, step, steps[i - 1]);
    pass.end();
  }

  /** Memory for blocks that are used before others are encoded into it: one for all, since a queue takes one after the other. */
  room(bytes: number): GPUBuffer {
    if (!this.#room || this.#room.bytes < bytes) {
      if (this.#room) this.#owned.push(this.#room);
      this.#room = this.gpu.buffer("quantized", bytes, GPUBufferUsage.STORAGE);
    }
    return this.#room.buffer;
  }

  /** What was encoded has been submitted. */
  settle(): void {
    for (const one of this.#owned.splice(0)) one[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.settle();
    this.#room?.[Symbol.dispose]();
    this.#room = undefined;
  }
}
