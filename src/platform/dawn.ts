/** Dawn, Chromium's WebGPU, as the npm package `webgpu` brings it to Node. */
import { CogwheelError } from "../base/errors.ts";

/**
 * Unsafe APIs are the experimental features (subgroup matrices); NVIDIA's f16 waits behind a toggle for graphics bugs
 * that compute does not meet; quantized timestamps (a defence of browsers) would hide a short kernel.
 */
const TOGGLES = [
  "enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia,use_vulkan_memory_model",
  "disable-dawn-features=timestamp_quantization",
];

/** A name that no adapter has: Dawn answers it with the list of those that there are. */
const NO_SUCH_ADAPTER = "cogwheel lists adapters";

/**
 * When the object that `create` returns is collected while a device lives, the process aborts inside a mutex. So every one is
 * kept, by what it was made from, which also spares the drivers' start when a second one is asked for.
 */
const kept = ((globalThis as { [key: symbol]: unknown })[Symbol.for("cogwheel.dawn")] ??= new Map<string, GPU>()) as Map<string, GPU>;

async function load(): Promise<typeof import("webgpu")> {
  let webgpu: typeof import("webgpu");
  try {
    webgpu = await import("webgpu");
  } catch (error) {
    throw new CogwheelError(
      "adapter",
      `Node needs the package webgpu (Dawn) for ${process.platform} on ${process.arch}, got ${(error as Error).message}; ` +
        "run npm install again, on Linux with glibc, macOS or Windows",
      { cause: error },
    );
  }
  // GPUBufferUsage and its like, which WebGPU code takes for granted.
  for (const [name, value] of Object.entries(webgpu.globals)) {
    if (!(name in globalThis)) Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
  return webgpu;
}

/** Dawn's `navigator.gpu` under the drivers that VK_DRIVER_FILES names now, for one device by its name or for the best. */
export async function createDawn(device?: string): Promise<GPU> {
  const { create } = await load();
  const key = JSON.stringify([process.env["VK_DRIVER_FILES"], process.env["VK_ICD_FILENAMES"], device]);
  let gpu = kept.get(key);
  if (!gpu) kept.set(key, (gpu = create(device === undefined ? TOGGLES : [...TOGGLES, `adapter=${device}`])));
  return gpu;
}

/** The names under which `createDawn` finds the devices, in Dawn's order. */
export async function dawnDevices(): Promise<string[]> {
  const { create } = await load();
  try {
    const gpu = create([`adapter=${NO_SUCH_ADAPTER}`]);
    kept.set(`${NO_SUCH_ADAPTER} ${kept.size}`, gpu);
    await gpu.requestAdapter();
    return []; // with no adapter at all it does not look for a name
  } catch (error) {
    return [...new Set([...String((error as Error).message).matchAll(/name: '(.*)'$/gm)].map((match) => match[1]!))];
  }
}
