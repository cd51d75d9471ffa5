/** Which weights a model has, told apart without reading all of them. */
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { COMPONENTS, type Digests, type JobStage } from "./stages.ts";
import { hex } from "../base/hex.ts";
import { sha256 } from "../base/sha256.ts";

/** Bytes that are looked at of each weight, from its middle. */
const SAMPLE = 256;
/** Weights that are read at a time. */
const AT_ONCE = 16;

/**
 * Digests of a checkpoint's configs, and for each stage of its weights as a worker computes with them: names, shapes, types, and some bytes
 * of every one. Another training changes them all, so that some bytes tell it; reading the whole would take minutes for nothing.
 * @param stored how they are stored on the adapter (f16, q8 …): a run that goes on with others gives other bytes
 */
export async function weightsDigests(
  { components }: Pick<Checkpoint, "components">,
  stages: Iterable<JobStage>,
  stored: string,
  signal?: AbortSignal,
): Promise<Digests> {
  const configs = [...components].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, { config }]) => `${name} ${JSON.stringify(config)}`);
  const digests: Partial<Record<JobStage | "configs", string>> = { configs: await digestOf(configs) };
  for (const stage of stages) {
    const weights = components.get(COMPONENTS[stage])?.weights;
    const lines: string[] = [stored];
    const entries = weights ? [...weights].sort(([a], [b]) => (a < b ? -1 : 1)) : [];
    for (let at = 0; at < entries.length; at += AT_ONCE) {
      const read = entries.slice(at, at + AT_ONCE).map(async ([name, { shape, format, start, end }]) => {
        const bytes = format ? end - start : 4 * shape.reduce((a, b) => a * b, 1);
        const into = new Uint8Array(Math.min(SAMPLE, bytes));
        await weights!.stored(name).read(4 * Math.floor((bytes - into.length) / 8), into, signal);
        return `${name} ${format ?? "f32"} [${shape.join()}] ${hex(into)}`;
      });
      lines.push(...(await Promise.all(read)));
    }
    digests[stage] = await digestOf(lines);
  }
  return digests;
}

const digestOf = async (lines: readonly string[]): Promise<string> =>
  (await sha256(new TextEncoder().encode(lines.join("\n")))).slice(0, 32);
