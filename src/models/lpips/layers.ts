/**
 * The networks whose features LPIPS compares, as lists of layers under published names. Channels are those of the weights, so a narrow
 * network of the same layers is as good. Only the layers that count are here: what follows the last features is left out.
 */
import { CogwheelError } from "../../base/errors.ts";

/** Names and shapes of weights, as a file has them. */
export type Shapes = (name: string) => readonly number[] | undefined;

export interface LpipsConvolution {
  readonly kind: "conv";
  readonly name: string;
  readonly shape: readonly number[];
  /** Rows and columns of zeros around what it reads. */
  readonly pad: number;
}

export type LpipsLayer =
  | LpipsConvolution
  | { readonly kind: "relu" }
  | { readonly kind: "max_pool"; readonly kernel: number; readonly stride: number }
  | { readonly kind: "blur_pool" }
  /** What went before are features; `name` is their linear head's. */
  | { readonly kind: "features"; readonly name: string; readonly channels: number };

/**
 * `vgg`: torchvision's VGG16 and the heads of the package lpips. `shift-tolerant-vgg`, `shift-tolerant-alex`: the complete networks of the
 * package stlpips-pytorch, which pool with overlap and blur before they leave out every second value.
 */
export type LpipsKind = "vgg" | "shift-tolerant-vgg" | "shift-tolerant-alex";

export interface LpipsNetwork {
  readonly kind: LpipsKind;
  readonly layers: readonly LpipsLayer[];
}

/** A row a slice, whose end is features: c a convolution, r a rectifier, m a max pool, b a blur pool. */
const SLICES: Readonly<Record<LpipsKind, readonly string[]>> = {
  vgg: ["c r c r", "m c r c r", "m c r c r c r", "m c r c r c r", "m c r c r c r"],
  "shift-tolerant-vgg": ["c r c r", "m b c r c r", "m b c r c r c r", "m b c r c r c r", "m b c r c r c r"],
  "shift-tolerant-alex": ["c b r", "m b c r", "m b c r", "c r", "c r"],
};
const POOLS: Readonly<Record<LpipsKind, { readonly kernel: number; readonly stride: number }>> = {
  vgg: { kernel: 2, stride: 2 },
  "shift-tolerant-vgg": { kernel: 2, stride: 1 },
  "shift-tolerant-alex": { kernel: 3, stride: 1 },
};
/** Rows and columns of zeros around what a convolution of so many taps reads. */
const PADS: Readonly<Record<number, number>> = { 3: 1, 5: 2, 11: 2 };

/** Where a layer's weights are: VGG16's are counted through, the others' by slice too. */
const layerName = (kind: LpipsKind, slice: number, index: number): string =>
  kind === "vgg" ? `net.features.${index}` : `net.slice${slice + 1}.${index}`;

/** Which of the networks has these weights, judged by their names. */
function kindOf(shapes: Shapes): LpipsKind {
  if (shapes("net.features.0.weight")) return "vgg";
  if (shapes("net.slice1.2.weight") && shapes("net.slice2.6.weight")) return "shift-tolerant-vgg";
  if (shapes("net.slice1.0.weight") && shapes("net.slice2.5.weight")) return "shift-tolerant-alex";
  if (shapes("lin0.model.1.weight"))
    throw new CogwheelError("lpips", "heads come with the network that they are of, got heads alone; name torchvision's VGG16 too");
  throw new CogwheelError(
    "lpips",
    "weights must be those of VGG16 (net.features.0.weight …) or of a shift-tolerant network (net.slice1.0.weight …), got neither; " +
      "give torchvision's VGG16 with the heads of the package lpips, or a file of stlpips-pytorch",
  );
}

/** The network that has these weights. Throws where one is missing, or does not follow from the one before. */
export function lpipsNetwork(shapes: Shapes): LpipsNetwork {
  const kind = kindOf(shapes);
  if (!shapes("lin0.model.1.weight"))
    throw new CogwheelError(
      "lpips",
      kind === "vgg"
        ? "a network comes with its heads (lin0.model.1.weight …), got VGG16 alone; " +
            "name the file of the package lpips too, weights/v0.1/vgg.pth"
        : "a network comes with its heads (lin0.model.1.weight …), got none; give the whole file of stlpips-pytorch",
    );
  const layers: LpipsLayer[] = [];
  let channels = 3;
  let index = 0;
  const need = (name: string, rule: string, fits: (shape: readonly number[]) => boolean): readonly number[] => {
    const shape = shapes(name);
    if (!shape || !fits(shape))
      throw new CogwheelError("lpips", `${name} must be ${rule}, got ${shape ? `[${shape.join(", ")}]` : "none"}; give the whole network`);
    return shape;
  };
  for (const [slice, row] of SLICES[kind].entries()) {
    for (const letter of row.split(" ")) {
      const name = layerName(kind, slice, index++);
      if (letter === "c") {
        const shape = need(
          `${name}.weight`,
          `[channels, ${channels}, k, k] with k 3, 5 or 11`,
          ([out, inner, kh, kw, ...more]) => out! > 0 && inner === channels && kh === kw && kh! in PADS && more.length === 0,
        );
        need(`${name}.bias`, `[${shape[0]}]`, (bias) => bias.join() === String(shape[0]));
        layers.push({ kind: "conv", name, shape, pad: PADS[shape[2]!]! });
        channels = shape[0]!;
      } else if (letter === "r") layers.push({ kind: "relu" });
      else if (letter === "m") layers.push({ kind: "max_pool", ...POOLS[kind] });
      else layers.push({ kind: "blur_pool" });
    }
    const head = `lin${slice}.model.1.weight`;
    need(head, `[1, ${channels}, 1, 1]`, (shape) => shape.join() === [1, channels, 1, 1].join());
    layers.push({ kind: "features", name: head, channels });
  }
  return { kind, layers };
}

/** Its weights' shapes, by name. */
export function lpipsWeights({ layers }: LpipsNetwork): Map<string, readonly number[]> {
  return new Map(
    layers.flatMap((layer): [string, readonly number[]][] => {
      if (layer.kind === "features") return [[layer.name, [1, layer.channels, 1, 1]]];
      if (layer.kind !== "conv") return [];
      return [
        [`${layer.name}.weight`, layer.shape],
        [`${layer.name}.bias`, [layer.shape[0]!]],
      ];
    }),
  );
}

/** Rows (and columns) that a picture must have at least, so that no layer runs out of them. */
export function leastSide({ layers }: LpipsNetwork): number {
  for (let side = 1; ; side++) if (fits(layers, side)) return side;
}

function fits(layers: readonly LpipsLayer[], picture: number): boolean {
  let side = picture;
  for (const layer of layers) {
    if (layer.kind === "conv") side += 2 * layer.pad - layer.shape[2]! + 1;
    else if (layer.kind === "max_pool") side = Math.floor((side - layer.kernel) / layer.stride) + 1;
    else if (layer.kind === "blur_pool") side = side < 3 ? 0 : Math.floor((side + 1) / 2) + 1;
    if (side < 1) return false;
  }
  return true;
}
