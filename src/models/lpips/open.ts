/**
 * LPIPS from a user's own files: torchvision's VGG16 (safetensors, or PyTorch's own .pth of either kind) with the heads of the package
 * lpips, a whole LPIPS that torch saved, or a file of stlpips-pytorch, which has everything. The names in them tell which it is.
 */
import { CogwheelError } from "../../base/errors.ts";
import { sha256 } from "../../base/sha256.ts";
import { toFloat32 } from "../../files/convert.ts";
import type { WeightProvider } from "../../run/weight-provider.ts";
import { checkpointError, type CheckpointSource } from "../../sources/source.ts";
import { openTensorFile, storedTensor, type TensorFile } from "../tensor-file.ts";
import { LPIPS_SCALE, LPIPS_SHIFT } from "./forward.ts";
import { lpipsNetwork, type LpipsNetwork, lpipsWeights } from "./layers.ts";

/** A file of LPIPS: where it lies, and its path there. */
export interface LpipsFile {
  readonly source: CheckpointSource;
  readonly path: string;
}

/** LPIPS as it was found in files, for the option `lpips` of `trainVae`. */
export interface OpenedLpips {
  readonly network: LpipsNetwork;
  /** By the network's own names, f32; tensors are read when a program loads them. */
  readonly weights: WeightProvider;
  /** What tells its weights from those of other files: of its convolutions and of its heads. Reads all of them. */
  digests(signal?: AbortSignal): Promise<LpipsDigests>;
}

/** SHA-256 over names, types and bytes of the weights that count, however they are spread over files. */
export interface LpipsDigests {
  readonly net: string;
  readonly heads: string;
}

interface Found {
  readonly file: TensorFile;
  /** In its file. */
  readonly tensor: string;
}

/** Opens one file or several, which together have the whole network; where two have a tensor, the later one's counts. */
export async function openLpips(files: readonly LpipsFile[]): Promise<OpenedLpips> {
  const found = new Map<string, Found>();
  for (const { source, path } of files) {
    const file = await openTensorFile(source, path);
    const named = namesOf(file.tensors.keys());
    for (const tensor of file.tensors.keys()) found.set(named(tensor), { file, tensor });
  }
  const network = lpipsNetwork((name) => shapeOf(found.get(name)));
  await assertConstants(found);
  for (const name of lpipsWeights(network).keys()) storedWeight(found.get(name)!);
  return {
    network,
    weights: {
      type: () => "f32",
      stored(name) {
        const weight = found.get(name);
        if (!weight) throw new CogwheelError("lpips", `a weight must be one of the network's, got ${name}; give the whole network`);
        return storedWeight(weight);
      },
    },
    async digests(signal) {
      const names = [...lpipsWeights(network).keys()];
      const of = (isHead: boolean) =>
        digestOf(
          names.filter((name) => name.startsWith("lin") === isHead),
          found,
          signal,
        );
      return { net: await of(false), heads: await of(true) };
    },
  };
}

async function digestOf(names: readonly string[], found: ReadonlyMap<string, Found>, signal: AbortSignal | undefined): Promise<string> {
  const lines: string[] = [];
  for (const name of names) {
    signal?.throwIfAborted();
    const { file, tensor } = found.get(name)!;
    const { bytes, dtype } = await file.read(tensor);
    lines.push(`${name} ${dtype} ${await sha256(bytes as Uint8Array<ArrayBuffer>)}`);
  }
  return await sha256(new TextEncoder().encode(lines.join("\n")));
}

/** A tensor's name in a file → the network's: torchvision leaves out what LPIPS has before it, and LPIPS counts VGG16 by slice too. */
function namesOf(names: Iterable<string>): (name: string) => string {
  const all = new Set(names);
  const sliced = all.has("net.slice1.2.weight") && all.has("net.slice2.5.weight");
  return (name) => (sliced ? name.replace(/^net\.slice\d\.(\d+)\./, "net.features.$1.") : name.replace(/^features\./, "net.features."));
}

const shapeOf = (found: Found | undefined): readonly number[] | undefined => found?.file.tensors.get(found.tensor)?.shape;
const storedWeight = ({ file, tensor }: Found) => storedTensor(file, tensor);

/** What a file has besides weights must be what is computed here: the filters of blurs, and what pictures are scaled by. */
async function assertConstants(found: ReadonlyMap<string, Found>): Promise<void> {
  const filter = [1, 2, 1].flatMap((a) => [1, 2, 1].map((b) => (a * b) / 16));
  for (const [name, { file, tensor }] of found) {
    const expected = name.endsWith(".filt")
      ? filter
      : name === "scaling_layer.shift"
        ? LPIPS_SHIFT
        : name === "scaling_layer.scale"
          ? LPIPS_SCALE
          : undefined;
    if (!expected) continue;
    const { bytes, dtype } = await file.read(tensor);
    const values = toFloat32(bytes, dtype);
    if (values.length % expected.length || values.some((v, i) => Math.abs(v - expected[i % expected.length]!) > 1e-6))
      throw checkpointError(
        file.source,
        file.path,
        `${tensor} must be ${expected.join(", ")}, got ${[...values.subarray(0, expected.length)].join(", ")}; take a published file`,
      );
  }
}
