/**
 * The only object that holds a `GPUDevice`. It opens an adapter, makes buffers and accounts for them, compiles
 * pipelines, reads results back, and turns WebGPU's ways of failing (scopes, lost devices) into errors.
 */
import { collectGarbage, requestGpuAdapter, waitForGpu } from "#platform";
import { CogwheelError } from "../base/errors.ts";
import { deviceDescriptor, readCapabilities, type Capabilities, type CapabilityOverrides } from "./capabilities.ts";
import { destroyBuffer, mapBuffer } from "./map.ts";
import { Pace } from "./pace.ts";
import { PipelineCache } from "./pipelines.ts";
import { findTuning, type Tuning } from "./tuning-store.ts";
import { tuningHeader, type TuningHeader, type TuningTable } from "./tuning-table.ts";

/** How a device is opened. */
export interface OpenGpuOptions {
  /** An adapter by name (`gpu`, `lavapipe`, `swiftshader`, or part of its description). Default: the fastest there is. */
  adapter?: string;
  /** Run on the app's own device instead of opening one; it is then not destroyed by `dispose`. */
  device?: GPUDevice;
  /** Pretend that the adapter has less; for tests. */
  capabilities?: CapabilityOverrides;
  /**
   * Which kernels were measured to be fastest (docs/tuning.md): a table, or false for the choice by capability alone. Default: what
   * `cogwheel tune` stored for this adapter in Node, nothing in a browser. One that does not hold here is left out with a warning.
   */
  tuning?: TuningTable | false;
  /** Things the user should know: a tuning table that does not hold here. */
  onWarning?: (message: string) => void;
}

/** A buffer that the engine owns; `dispose` destroys it and takes it out of the accounts. */
export interface OwnedBuffer extends Disposable {
  readonly buffer: GPUBuffer;
  readonly bytes: number;
}

/** The adapter has no memory left for what was asked of it. Less may do. */
export class OutOfMemory extends CogwheelError {
  constructor(
    what: string,
    /** Bytes of buffers there were at the most, what there was no room for included. */
    readonly allocated: number,
    cause: GPUError,
  ) {
    super(
      "gpu",
      `the adapter is out of memory in ${what} (${allocated} bytes are allocated); ` +
        "choose a smaller size, fewer frames or --dtype f16, or say how much memory there is (--memory)",
      { cause, code: "out-of-memory" },
    );
  }
}

/** Of all devices of this process, since the limits that they run into are the process's. */
let bindGroups = 0;
const BIND_GROUPS_BETWEEN_COLLECTIONS = 8192;

/**
 * A device that is open: its adapter's capabilities, its memory, and the pipelines that were compiled. Throws `CogwheelError` of code
 * `device`.
 */
export class Gpu implements AsyncDisposable {
  readonly pipelines: PipelineCache;
  readonly pace: Pace;
  #allocated = 0;
  #peak = 0;
  /** The most since the scope under way began. */
  #high = 0;
  #lost: GPUDeviceLostInfo | null = null;
  #uncaptured: GPUError | null = null;
  #disposed = false;
  #staging: { buffer: GPUBuffer; bytes: number }[] = [];

  readonly #listen = (event: Event): void => {
    this.#uncaptured ??= (event as GPUUncapturedErrorEvent).error;
    event.preventDefault();
  };

  private constructor(
    readonly device: GPUDevice,
    readonly caps: Capabilities,
    /** e.g. `SwiftShader Device (LLVM 10.0.0)` */
    readonly name: string,
    /** How to get a faster adapter, where this one is slow. */
    readonly advice: string | undefined,
    readonly ownsDevice: boolean,
    /** What kernels are chosen by beside the capabilities, which hold its choices. */
    readonly tuning: Tuning | undefined,
    /** What a table of measurements made here says of itself. */
    readonly tuningHeader: TuningHeader,
  ) {
    this.pipelines = new PipelineCache(device, caps);
    this.pace = new Pace(caps.kind, (ms, signal) => this.idle(ms, signal));
    void device.lost.then((info) => {
      this.#lost = info;
    });
    // What no error scope was open for: kept, and thrown at the next wait. An app's own device is the app's to listen to.
    if (ownsDevice) device.addEventListener("uncapturederror", this.#listen);
  }

  static async open(options: OpenGpuOptions = {}): Promise<Gpu> {
    const features: ReadonlySet<string> = (globalThis.navigator?.gpu ?? undefined)?.wgslLanguageFeatures ?? new Set<string>();
    if (options.device) {
      const { device } = options;
      const info = device.adapterInfo;
      const software = /swiftshader|llvmpipe|software|basic render/i.test(`${info.description} ${info.device} ${info.architecture}`);
      const caps = readCapabilities(device, info, software ? "software" : "hardware", features, options.capabilities);
      return await Gpu.#create(device, caps, info.description, undefined, false, options);
    }
    const found = await requestGpuAdapter(options.adapter === undefined ? {} : { adapter: options.adapter });
    const { adapter } = found;
    const device = await adapter.requestDevice(deviceDescriptor(adapter));
    try {
      const caps = readCapabilities(device, adapter.info, found.kind, found.languageFeatures ?? features, options.capabilities);
      return await Gpu.#create(device, caps, found.name, found.advice, true, options);
    } catch (error) {
      device.destroy();
      throw error;
    }
  }

  static async #create(
    device: GPUDevice,
    caps: Capabilities,
    name: string,
    advice: string | undefined,
    ownsDevice: boolean,
    options: OpenGpuOptions,
  ): Promise<Gpu> {
    const header = tuningHeader(device.adapterInfo, caps);
    const tuning = await findTuning(header, options);
    return new Gpu(device, tuning ? { ...caps, tuning: tuning.table.choices } : caps, name, advice, ownsDevice, tuning, header);
  }

  get lost(): GPUDeviceLostInfo | null {
    return this.#lost;
  }
  /** Bytes of GPU buffers alive now, and the most there ever were. */
  get memory(): { allocated: number; peak: number } {
    return { allocated: this.#allocated, peak: this.#peak };
  }

  assertAlive(): void {
    if (this.#disposed) throw new CogwheelError("gpu", "a Gpu cannot be used after dispose; open a new one");
    if (this.#uncaptured) {
      const error = this.#uncaptured;
      this.#uncaptured = null;
      if (typeof GPUOutOfMemoryError !== "undefined" && error instanceof GPUOutOfMemoryError)
        throw new OutOfMemory("a run", this.#allocated, error);
      throw new CogwheelError("gpu", `the device reported an error: ${error.message}`, { cause: error });
    }
    if (this.#lost)
      throw new CogwheelError(
        "gpu",
        `the GPU device was lost (${this.#lost.reason || "unknown"}: ${this.#lost.message.trim()}); open the adapter again`,
      );
  }

  /**
   * A new buffer; `data`, if given, is its content from the start, or says that it is to be
   * mapped. Sizes are rounded up to 16 bytes, a vec4.
   */
  buffer(label: string, size: number, usage: GPUBufferUsageFlags, data?: ArrayBufferView | "mapped"): OwnedBuffer {
    this.assertAlive();
    const bytes = Math.max(16, Math.ceil(size / 16) * 16);
    if (bytes > this.caps.maxBufferBytes) {
      throw new CogwheelError(
        "gpu",
        `a buffer may have ${this.caps.maxBufferBytes} bytes on this adapter, ` +
          `got ${bytes} for "${label}"; choose a smaller size or fewer frames`,
      );
    }
    const buffer = this.device.createBuffer({ label, size: bytes, usage, mappedAtCreation: data !== undefined });
    if (data && data !== "mapped") {
      new Uint8Array(buffer.getMappedRange()).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      buffer.unmap();
    }
    this.#allocated += bytes;
    this.#peak = Math.max(this.#peak, this.#allocated);
    this.#high = Math.max(this.#high, this.#allocated);
    let alive = true;
    return {
      buffer,
      bytes,
      [Symbol.dispose]: () => {
        if (!alive) return;
        alive = false;
        this.#allocated -= bytes;
        destroyBuffer(buffer);
      },
    };
  }

  /**
   * A bind group. WebGPU has no call that ends one: its descriptors are the driver's until JavaScript collects it, and it is too small for
   * that to come soon. lavapipe maps a page for each, and a process may have 65,530 mappings: after some programs of a training, none was
   * left, and the driver died or never signalled again.
   */
  bindGroup(descriptor: GPUBindGroupDescriptor): GPUBindGroup {
    if (++bindGroups % BIND_GROUPS_BETWEEN_COLLECTIONS === 0) collectGarbage();
    return this.device.createBindGroup(descriptor);
  }

  /** Content of a range of a buffer, once all work submitted before is done. */
  async read(buffer: GPUBuffer, offset = 0, bytes = buffer.size - offset, signal?: AbortSignal): Promise<ArrayBuffer> {
    this.assertAlive();
    const size = Math.ceil(bytes / 4) * 4;
    const index = this.#staging.findIndex((s) => s.bytes >= size && s.bytes <= 4 * size + 65536);
    const staging =
      index >= 0
        ? this.#staging.splice(index, 1)[0]!
        : {
            buffer: this.device.createBuffer({ label: "staging", size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST }),
            bytes: size,
          };
    const encoder = this.device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, offset, staging.buffer, 0, size);
    this.device.queue.submit([encoder.finish()]);
    try {
      await this.pace.drain(signal);
      await mapBuffer(staging.buffer, GPUMapMode.READ, 0, size);
    } catch (error) {
      destroyBuffer(staging.buffer);
      if (signal?.aborted || error instanceof CogwheelError) throw error;
      this.assertAlive();
      throw new CogwheelError("gpu", `reading ${bytes} bytes back failed; ${(error as Error).message}`, { cause: error });
    }
    const data = staging.buffer.getMappedRange(0, size).slice(0, bytes);
    staging.buffer.unmap();
    this.#staging.push(staging);
    if (this.#staging.length > 4) destroyBuffer(this.#staging.shift()!.buffer);
    return data;
  }

  /** Resolves when the queue has run dry. */
  async idle(predictedMs = 0, signal?: AbortSignal): Promise<void> {
    this.assertAlive();
    await waitForGpu(this.device, predictedMs, signal);
    this.assertAlive();
  }

  /**
   * Runs `work` inside error scopes: what WebGPU would report asynchronously becomes an exception here. Memory that is lacking comes first:
   * what was to be made in it is invalid, and the errors of its use follow from that.
   * @param undo is called where something was reported: what `work` has made may be invalid
   */
  async scoped<T>(what: string, work: () => T | Promise<T>, undo?: () => void): Promise<T> {
    this.assertAlive();
    const { device } = this;
    const filters: GPUErrorFilter[] = ["out-of-memory", "validation", "internal"];
    for (const filter of filters) device.pushErrorScope(filter);
    const before = this.#high;
    this.#high = this.#allocated;
    let result: T | undefined;
    let thrown: unknown;
    try {
      result = await work();
    } catch (error) {
      thrown = error ?? new Error("unknown");
    }
    const most = this.#high;
    this.#high = Math.max(before, most);
    const reported = new Map<GPUErrorFilter, GPUError>();
    for (const filter of filters.reverse()) {
      const error = await device.popErrorScope();
      if (error) reported.set(filter, error);
    }
    if (reported.size) undo?.();
    const memory = reported.get("out-of-memory");
    const [other] = reported.values();
    if (memory) thrown = new OutOfMemory(what, most, memory);
    else if (other) thrown ??= new CogwheelError("gpu", `${what} failed: ${other.message}`, { cause: other });
    if (thrown) {
      this.assertAlive();
      throw thrown;
    }
    return result as T;
  }

  /** Frees everything; a device of its own is destroyed. */
  close(): Promise<void> {
    return this[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposed) return;
    // A driver may crash when its process ends with work under way: run dry first.
    if (!this.#lost) await waitForGpu(this.device, 0).catch(() => undefined);
    this.#disposed = true;
    for (const { buffer } of this.#staging) destroyBuffer(buffer);
    this.#staging = [];
    if (!this.ownsDevice) return;
    // In Node a device with a listener is never collected, nor what the listener knows, nor the driver's threads.
    this.device.removeEventListener("uncapturederror", this.#listen);
    this.device.destroy();
  }
}
