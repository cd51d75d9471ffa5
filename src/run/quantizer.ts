/** Turns a weight's values, in a buffer on the device, into blocks of 8 or 4 bits there: kernels/weights/quantize_blocks.wgsl. */
import type { Gpu } from "../gpu/gpu.ts";
import { quantizeDispatches, type Quantizing } from "../plan/quantize-weight.ts";
import { bindSteps, encodeStep } from "./steps.ts";

export class Quantizer implements Disposable {
  #owned: Disposable[] = [];

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

  /** What was encoded has been submitted. */
  settle(): void {
    for (const one of this.#owned.splice(0)) one[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.settle();
  }
}
