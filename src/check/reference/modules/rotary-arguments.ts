/** The rotary tables of a case, by the arguments that it records. */
import { brief } from "../../../base/brief.ts";
import { CogwheelError } from "../../../base/errors.ts";
import type { RotaryGrid } from "../../../models/cogvideox/positions.ts";
import type { ReferenceCase } from "../reference-case.ts";

/** `get_3d_rotary_pos_embed`'s arguments, as a reference case records them, for `tokens` tokens of width `dim`. */
export function rotaryFromArguments(c: ReferenceCase, value: unknown, dim: number, tokens: number): RotaryGrid {
  const fail = (rule: string): never => {
    throw new CogwheelError("reference", `${c.name}: rotary arguments: ${rule}; write those of get_3d_rotary_pos_embed`);
  };
  if (typeof value !== "object" || value === null || Array.isArray(value)) return fail(`must be an object, got ${brief(value)}`);
  const args = value as Record<string, unknown>;
  const pair = (v: unknown, ok: (n: number) => boolean): v is [number, number] =>
    Array.isArray(v) && v.length === 2 && v.every((n) => typeof n === "number" && Number.isFinite(n) && ok(n));
  const { embed_dim, grid_size: size, temporal_size: frames, grid_type: type = "linspace", crops_coords: crops, theta = 10000 } = args;
  const whole = (n: number): boolean => Number.isInteger(n) && n > 0;
  if (embed_dim !== dim || dim % 16)
    fail(`embed_dim must be the head width, a multiple of 16, got ${brief(embed_dim)} for heads of ${dim}`);
  if (!pair(size, whole)) return fail(`grid_size must be two positive whole numbers, got ${brief(size)}`);
  if (typeof frames !== "number" || !whole(frames)) return fail(`temporal_size must be a positive whole number, got ${brief(frames)}`);
  if (frames * size[0] * size[1] !== tokens)
    fail(`temporal_size · grid_size must be the ${tokens} tokens, got ${frames} · ${size[0]} · ${size[1]}`);
  if (typeof theta !== "number" || !(theta > 0 && Number.isFinite(theta)))
    return fail(`theta must be a number above 0, got ${brief(theta)}`);
  const [height, width] = size;
  if (type === "slice") {
    const largest = args["max_size"];
    if (!pair(largest, whole) || largest[0] < height || largest[1] < width) fail(`max_size must hold grid_size, got ${brief(largest)}`);
    return { dim, frames, height, width, crop: null, theta };
  }
  if (type !== "linspace") fail(`grid_type must be linspace or slice, got ${brief(type)}`);
  const corner = (v: unknown): v is [number, number] => pair(v, () => true);
  if (!Array.isArray(crops) || crops.length !== 2 || !corner(crops[0]) || !corner(crops[1]))
    return fail(`crops_coords must be two pairs of numbers, got ${brief(crops)}`);
  return { dim, frames, height, width, crop: [crops[0], crops[1]], theta };
}
