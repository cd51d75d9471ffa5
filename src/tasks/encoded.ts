/** Clips and captions as tasks: what is asked, what a worker must have for it, and what comes out as a blob. */
import { CogwheelError } from "../base/errors.ts";
import { sha256 } from "../base/sha256.ts";
import type { EncodedTask, EncodeTask } from "../data/prepared.ts";
import type { StoredTensors } from "../data/store.ts";
import { openSafetensors, type TensorToWrite, writeSafetensors } from "../files/safetensors.ts";
import { COMPONENTS } from "../jobs/stages.ts";
import { weightsDigests } from "../jobs/weights-digest.ts";
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import { memorySource } from "../sources/memory.ts";

/** What an encoder's bytes follow from, beside what it is given. */
export interface EncoderNeeds {
  /** What the asker calls the model, for people. */
  readonly model: string;
  /** A digest of the encoder's weights and config, however they are stored. */
  readonly weights: string;
  /** How they are stored on the adapter. */
  readonly dtype: string;
  /** The kind of adapter: a digest of what it is, what it can do and of its kernels; and its name. */
  readonly adapter: string;
  readonly adapterName: string;
}

/** An encode task as it is asked. */
export interface EncodeAsk {
  readonly needs: EncoderNeeds;
  readonly task: EncodeTask;
}

/** The encoder that a task needs, as a stage of jobs is called. */
export const stageOfTask = ({ kind }: Pick<EncodeTask, "kind">): "decode" | "text" => (kind === "clip" ? "decode" : "text");

/** What `model` has of it. @param dtype how its weights are stored, where that is not its own type */
export async function needsOf(
  name: string,
  model: CogVideoX,
  stage: "decode" | "text",
  dtype: string = model.dtype,
  signal?: AbortSignal,
): Promise<EncoderNeeds> {
  const components = new Map([...model.checkpoint.components].filter(([component]) => component === COMPONENTS[stage]));
  const digests = await weightsDigests({ components }, [stage], "", signal);
  const adapter = (await sha256(new TextEncoder().encode(JSON.stringify(model.gpu.tuningHeader)))).slice(0, 16);
  return { model: name, weights: `${digests.configs} ${digests[stage]}`, dtype, adapter, adapterName: model.gpu.name };
}

/** What came out of a task; or the rule that a clip breaks which cannot be read. */
export type EncodeOutcome = EncodedTask | { readonly broken: string };

const KEY = "cogwheel_encoded";

/** Arrays are called `KEY/NAME`. */
export function outcomeBytes(outcome: EncodeOutcome): Uint8Array<ArrayBuffer> {
  const tensors = new Map<string, TensorToWrite>();
  const { results, ...said } = "broken" in outcome ? { results: new Map<string, StoredTensors>(), ...outcome } : outcome;
  for (const [key, arrays] of results)
    for (const [name, { shape, data }] of Object.entries(arrays)) tensors.set(`${key}/${name}`, { dtype: "F32", shape, data });
  return writeSafetensors(tensors, { [KEY]: JSON.stringify(said) });
}

/** Throws where it is not what the task asks for. */
export async function outcomeOf(bytes: Uint8Array<ArrayBuffer>, task: EncodeTask): Promise<EncodeOutcome> {
  const file = await openSafetensors(memorySource({ result: bytes }), "result");
  const said = JSON.parse(file.metadata[KEY] ?? "{}") as { broken?: string; cut?: string };
  if (said.broken !== undefined) return { broken: said.broken };
  const results = new Map<string, StoredTensors>();
  const wanted: readonly (readonly [key: string, names: readonly string[], dimensions: number])[] =
    task.kind === "text"
      ? [[task.key, ["text"], 2]]
      : [task.latents ?? [], ...task.images.map(([, key]) => key)].flat().map((key) => [key, ["mean", "logvar"], 4] as const);
  for (const [key, names, dimensions] of wanted) {
    const arrays: Record<string, StoredTensors[string]> = {};
    for (const name of names) {
      const told = file.tensors.get(`${key}/${name}`);
      if (told?.dtype !== "F32" || told.shape.length !== dimensions)
        throw new CogwheelError(
          "tasks",
          `a worker must give ${name} of ${task.kind === "clip" ? task.file : "a caption"} in ${dimensions} dimensions, got ` +
            `${told ? `${told.dtype} [${told.shape.join(", ")}]` : "none"}; end that worker`,
        );
      arrays[name] = { shape: told.shape, data: new Float32Array((await file.read(`${key}/${name}`)).bytes.slice().buffer) };
    }
    results.set(key, arrays);
  }
  return { results, ...(said.cut === undefined ? {} : { cut: said.cut }) };
}
