/** What Node and the browser both provide under the name `#platform`; see node.ts and browser.ts. */

export type AdapterKind = "hardware" | "software";

/** Where an adapter comes from: what the system offers by itself, Mesa's CPU driver by name, or SwiftShader from npm. */
export type AdapterSource = "system" | "lavapipe" | "swiftshader";

export interface AdapterRequest {
  /** `gpu`, `lavapipe`, `swiftshader`, or part of an adapter's description (case does not matter). Default: the fastest there is. */
  adapter?: string;
}

export interface FoundAdapter {
  adapter: GPUAdapter;
  kind: AdapterKind;
  /** The adapter's description, e.g. `SwiftShader driver 5.0.0`. */
  name: string;
  /** One line that says how to get a faster adapter, where this one is slow. */
  advice: string | undefined;
  /** WGSL language features (`immediate_address_space` …), which WebGPU tells of the GPU object and not of the adapter. */
  languageFeatures: ReadonlySet<string>;
}

/** One adapter of this machine, as `cogwheel adapters` lists it. */
export interface ListedAdapter {
  name: string;
  kind: AdapterKind;
  /** What `--adapter` takes for it. */
  select: string;
  vendor: string;
  architecture: string;
  subgroups: { min: number; max: number } | undefined;
  features: readonly string[];
  limits: { maxBufferSize: number; maxStorageBufferBindingSize: number; maxComputeInvocationsPerWorkgroup: number };
}

/** A place that a result is written to: under a temporary name, put in place by `commit`, taken back by dispose. */
export interface OutputFiles extends AsyncDisposable {
  /** Where the result will be. */
  readonly path: string;
  /** Writes a file, which may come in pieces; `name` only for the files of a folder. */
  write(data: Uint8Array | AsyncIterable<Uint8Array>, name?: string): Promise<void>;
  /** Puts the result in place of what may be there. */
  commit(): Promise<void>;
}

/** A result that is kept. */
export interface KeptFile {
  readonly name: string;
  readonly bytes: number;
  /** When it was last read or written, in milliseconds as Date has them. */
  readonly used: number;
}

/** Results of one kind that are kept for a user's other runs. Anything in it may be gone at any time. */
export interface KeptFiles {
  /** Where they lie, for the user. */
  readonly place: string;
  /** How much may be kept, where the user says so. */
  readonly limitBytes?: number;
  list(): Promise<KeptFile[]>;
  /** A result of at most so many bytes, which was used with that; undefined where there is none. */
  read(name: string, most: number): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** The same without using it. @param first so many bytes of it alone */
  peek(name: string, most: number, first?: number): Promise<Uint8Array<ArrayBuffer> | undefined>;
  write(name: string, bytes: Uint8Array): Promise<void>;
  remove(name: string): Promise<void>;
}

/** A piece of a disk in place of memory, gone when it is disposed of. */
export interface Spill extends Disposable {
  /** Fills `into` with the bytes from `at` on. */
  read(at: number, into: Uint8Array): void;
  write(at: number, from: Uint8Array): void;
}

export interface Platform {
  /** Opens the adapter; throws a CogwheelError that says what to install when there is none. */
  requestGpuAdapter(request?: AdapterRequest): Promise<FoundAdapter>;
  /** Every adapter that can be asked for here, the default one first. */
  listAdapters(): Promise<ListedAdapter[]>;
  /** Resolves when the queue has run dry, without taking a core from an adapter that runs on the CPU. */
  waitForGpu(device: GPUDevice, predictedMs?: number, signal?: AbortSignal): Promise<void>;
  /** The same for another promise of WebGPU's; its end may be found a fraction of a millisecond late. */
  waitFor<T>(device: GPUDevice, promise: Promise<T>): Promise<T>;
  /** The most memory that this process ever had resident, where that can be known. */
  peakResidentBytes(): number | undefined;
  /** Memory that this process could still take without swapping or being killed, where that can be known. */
  availableMemoryBytes(): number | undefined;
  /** Bytes that may be spilled; 0 where none can be. */
  spillRoom(): number;
  openSpill(bytes: number): Promise<Spill>;
  /** Makes WebCodecs' classes available on globalThis, and tells whose they are; throws a CogwheelError where there are none. */
  installWebCodecs(): Promise<"browser" | "package">;
  /** Throws unless a file (or a folder of files, `frame-0001.png` …) can be written there; writes nothing that stays. */
  checkWritable(path: string, kind: "file" | "folder", option?: string): Promise<void>;
  /** Opens such a place; `option` is what the user names it with (default `--out`), for the remedy of an error. */
  openOutput(path: string, kind: "file" | "folder", option?: string): Promise<OutputFiles>;
  /** A table of measurements that was kept for this user, with where it lies; `undefined` if there is none. */
  readTuning(file: string): Promise<{ path: string; text: string } | undefined>;
  /** What the environment names in its place (COGWHEEL_TUNING): a file, or `off`. */
  namedTuning(): Promise<"off" | { path: string; text: string } | undefined>;
  /** Keeps one for this user's other runs; resolves to where. A page keeps what it wants itself. */
  writeTuning(file: string, text: string): Promise<string>;
  /**
   * Results of a kind that are kept for this user; undefined where none can be, or the user wants none (COGWHEEL_PROMPT_CACHE=off).
   * @param evenIfOff those that were kept before the user wanted none
   */
  keptFiles(kind: string, evenIfOff?: boolean): Promise<KeptFiles | undefined>;
  /** Results that are kept in a folder that the user names. Node only. */
  keptAt(folder: string): KeptFiles;
  /** Names of the files of a folder, sorted; `undefined` if it is no folder. */
  listFolder(path: string): Promise<string[] | undefined>;
}
