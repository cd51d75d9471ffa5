/** A checkpoint and the device that it runs on, opened together and closed together: what every pipeline begins with. */
import { openSource } from "#files";
import { openCheckpoint, type Checkpoint } from "../checkpoint/checkpoint.ts";
import type { ComponentFile, GgufFiles } from "../checkpoint/component-file.ts";
import type { QuantizedFormat } from "../checkpoint/quantized-weights.ts";
import { ComponentWeights, keptMessage } from "../checkpoint/component-weights.ts";
import type { TiedNames } from "../checkpoint/weight-index.ts";
import type { CheckpointSource } from "../sources/source.ts";
import { CogwheelError } from "../base/errors.ts";
import { Gpu, type OpenGpuOptions } from "../gpu/gpu.ts";
import { defined, type OpenOptions } from "./options.ts";

type OpenedOptions = Omit<OpenOptions, "keep" | "memoryBytes">;

/** How a pipeline opens a checkpoint. */
export interface Opening<C, T> {
  /** What errors are told to be of. */
  readonly room: string;
  /** Whose checkpoints these are, as errors call them. */
  readonly family: string;
  /** The components that are read. */
  readonly only: readonly string[];
  /** Names of tied weights, of which files hold one or both. */
  readonly tied?: TiedNames;
  /** May `dtype` say that layers are to be quantized? Default: no. */
  readonly quantizes?: true;
  /** The class of the one component of `only` that may come without a checkpoint around it. */
  readonly alone?: string;
  /** The GGUF files that components may come in, by component. */
  readonly gguf?: GgufFiles;
  /** What the checkpoint's configs say; before a device is opened. */
  readonly read: (checkpoint: Checkpoint) => C | Promise<C>;
  /** What is made of it; when that fails, everything is closed again. */
  readonly make: (opened: Opened, configs: C) => T | Promise<T>;
}

/** What the option `dtype` may name beside types of numbers. */
const QUANTIZED: Readonly<Partial<Record<string, QuantizedFormat>>> = { q8: "q8_0", q4: "q4_0" };

/** Files in components' places, where any are named: a chunk that most pages never load. */
async function filesOf(options: OpenedOptions, room: string): Promise<Map<string, ComponentFile>> {
  if ((options.transformer ?? options.textEncoder ?? options.vae) === undefined) return new Map();
  const { openComponentFiles } = await import("./component-files.ts");
  return await openComponentFiles(options, room, options.hub);
}

export class Opened implements AsyncDisposable {
  #gpu: Gpu;

  private constructor(
    readonly checkpoint: Checkpoint,
    gpu: Gpu,
    /** How the device was opened; nothing where it is the app's, which closes it and opens another one itself. */
    private readonly own: OpenGpuOptions | undefined,
    /** Storage type of weights and activations. */
    readonly dtype: "f32" | "f16",
    /** In what the matrices of layers are kept instead. */
    readonly quantized: QuantizedFormat | undefined,
  ) {
    this.#gpu = gpu;
  }

  static async open<C, T>(
    from: string | URL | CheckpointSource | undefined,
    options: OpenedOptions,
    { room, family, only, alone, tied, quantizes, gguf, read, make }: Opening<C, T>,
  ): Promise<T> {
    const files = await filesOf(options, room);
    const what = {
      only,
      family,
      files,
      ...defined({
        alone,
        tied,
        gguf,
        variant: options.variant,
        configsOnly: options.configsOnly || undefined,
        weightsOf: options.weightsOf,
      }),
    };
    const source = await openSource(from, { ...what, ...defined({ hub: options.hub }) }).catch(async (error: unknown) => {
      for (const { source: opened } of files.values()) await opened[Symbol.asyncDispose]();
      throw error;
    });
    const checkpoint = await openCheckpoint(source, what);
    let gpu: Gpu | undefined;
    try {
      const asked = options.dtype;
      const quantized = quantizes && asked !== undefined && Object.hasOwn(QUANTIZED, asked) ? QUANTIZED[asked] : undefined;
      if (asked !== undefined && !quantized && asked !== "f32" && asked !== "f16")
        throw new CogwheelError(
          room,
          `dtype must be ${quantizes ? "f32, f16, q8 or q4" : "f32 or f16"}, ` +
            `got ${JSON.stringify(options.dtype)}; leave it out for the adapter's better one`,
        );
      const configs = await read(checkpoint);
      const own = options.gpu ? undefined : defined({ adapter: options.adapter, tuning: options.tuning, onWarning: options.onWarning });
      gpu = options.gpu ?? (await Gpu.open(own));
      if (options.dtype === "f16" && !gpu.caps.f16)
        throw new CogwheelError(room, `dtype f16 needs an adapter with shader-f16, got ${gpu.name}; use f32 or another adapter`);
      const better = gpu.caps.f16 && gpu.caps.kind === "hardware" ? "f16" : "f32";
      const dtype = asked === "f32" || asked === "f16" ? asked : better;
      return await make(new Opened(checkpoint, gpu, own, dtype, quantized), configs);
    } catch (error) {
      await checkpoint[Symbol.asyncDispose]();
      if (!options.gpu) await gpu?.[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The device; another one after `reopen`. */
  get gpu(): Gpu {
    return this.#gpu;
  }

  /** Is the device its own, so that it may be opened again? */
  get ownsGpu(): boolean {
    return this.own !== undefined;
  }

  /** Opens its own device again, as it was opened first; another adapter may answer. */
  async reopen(): Promise<void> {
    await this.#gpu[Symbol.asyncDispose]();
    this.#gpu = await Gpu.open(this.own);
  }

  /** A component's weights, stored as `dtype`; those that do not fit it become f32 when they are loaded and are told of. */
  weights(component: string, { onWarning }: { onWarning?: (message: string) => void }): ComponentWeights {
    return ComponentWeights.open(this.checkpoint.component(component), this.dtype, (kept) => onWarning?.(keptMessage(component, kept)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.checkpoint[Symbol.asyncDispose]();
    if (this.own) await this.#gpu[Symbol.asyncDispose]();
  }
}
