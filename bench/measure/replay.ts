/** What replaying a plan costs the host, beside a bare loop that encodes the same number of trivial dispatches. */
import { silu } from "#kernels";
import type { Gpu } from "../../src/gpu/gpu.ts";
import type { Kernel } from "../../src/gpu/kernel.ts";
import type { Program } from "../../src/run/program.ts";
import { median } from "./statistics.ts";

export interface Replay {
  readonly dispatches: number;
  readonly replayMs: number;
  readonly bareMs: number;
  readonly ratio: number;
}

/**
 * Host milliseconds for each, and the median of their ratios in `rounds` taken in turn;
 * nothing is submitted, so no GPU time is in them.
 */
export async function measureReplay(gpu: Gpu, program: Program, rounds = 61): Promise<Replay> {
  const { device } = gpu;
  const dispatches = program.plan.steps.length;
  const { pipeline, layout, immediates } = await gpu.pipelines.get(silu as Kernel, {});
  const buffers = [0, 1].map(() => device.createBuffer({ size: 4096, usage: GPUBufferUsage.STORAGE }));
  const uniform = device.createBuffer({ size: 256, usage: GPUBufferUsage.UNIFORM });
  const entries: GPUBindGroupEntry[] = buffers.map((buffer, i) => ({ binding: i + 1, resource: { buffer } }));
  if (!immediates) entries.push({ binding: 0, resource: { buffer: uniform } });
  // As a model has them: several bind groups, taken in turn.
  const groups = Array.from({ length: 16 }, () => device.createBindGroup({ layout, entries }));
  const data = new Uint32Array([0, 0, 0, 0]).buffer.slice(0, 4);

  const timed = (body: (pass: GPUComputePassEncoder) => void): number => {
    const start = performance.now();
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    body(pass);
    pass.end();
    encoder.finish();
    return performance.now() - start;
  };
  const bare = () =>
    timed((pass) => {
      for (let i = 0; i < dispatches; i++) {
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, groups[i % 16]!);
        if (immediates) (pass as unknown as { setImmediates(o: number, d: ArrayBuffer): void }).setImmediates(0, data);
        pass.dispatchWorkgroups(1, 1, 1);
      }
    });
  const replay = () => timed((pass) => program.encode(pass));
  const times = { bare: [] as number[], replay: [] as number[] };
  for (let i = 0; i < rounds + 3; i++) {
    const [a, b] = [bare(), replay()];
    if (i >= 3) {
      times.bare.push(a);
      times.replay.push(b);
    }
  }
  for (const buffer of [...buffers, uniform]) buffer.destroy();
  const ratio = median(times.replay.map((ms, i) => ms / times.bare[i]!));
  return { dispatches, replayMs: median(times.replay), bareMs: median(times.bare), ratio };
}
