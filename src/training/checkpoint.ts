/**
 * Everything that decides how a run goes on, as one safetensors file: its states as they lie on the device, and in the metadata how far it
 * is and what it was begun with. Draws follow from the seed and the step (`draws.ts`), so there are no generators to keep.
 */
import { CogwheelError } from "../base/errors.ts";
import { isObject, parseJsonObject } from "../base/json-scan.ts";
import { differences } from "./differences.ts";
import type { SafetensorsDType } from "../files/safetensors-dtype.ts";
import { openSafetensors, type SafetensorsFile, type TensorToWrite, writeSafetensors } from "../files/safetensors.ts";
import type { DType } from "../graph/dtype.ts";
import type { States } from "../run/states.ts";
import { memorySource } from "../sources/memory.ts";
import type { TrainerProgress } from "./trainer.ts";
import { lasts } from "./update.ts";
import type { LogVarianceProgress } from "./vae/log-variance.ts";

const KEY = "cogwheel_training";
const FORMAT = 1;
const DTYPES: Readonly<Record<DType, SafetensorsDType>> = { f32: "F32", f16: "F16", u32: "U32", i32: "I32" };

/** What a run was begun with: what another value of would make another run of it. */
export type RunIdentity = Readonly<Record<string, unknown>>;

export interface SavedProgress extends TrainerProgress {
  /** Steps that are done, those that were not taken too. */
  readonly step: number;
  /** Updates that were made before the stage of the last step; left out in the first. */
  readonly stageUpdates?: number | undefined;
  /** Of a discriminator that is trained in turn. */
  readonly discriminator?: TrainerProgress | undefined;
  /** Of each replica of a run by DiLoCo; `updates` and `stageUpdates` are of the whole run and before its stage. */
  readonly replicas?: readonly { readonly progress: TrainerProgress; readonly updates: number; readonly stageUpdates: number }[];
  /** Of a log-variance that a VAE's reconstruction counts by. */
  readonly logVariance?: LogVarianceProgress | undefined;
}

/** What a run goes on from, beside how far it is. */
export interface RunState {
  /** Shapes and types by name. */
  readonly tensors: ReadonlyMap<string, { readonly shape: readonly number[]; readonly dtype: DType }>;
  /** What all of them hold. */
  save(signal?: AbortSignal): Promise<ReadonlyMap<string, ArrayBufferView>>;
  restore(saved: ReadonlyMap<string, Uint8Array<ArrayBuffer>>): void;
}

/** States on a device, but for those that begin anew in every step. */
export const stateOnDevice = (states: States): RunState => ({
  tensors: new Map([...states.tensors].filter(([name]) => lasts(name))),
  async save(signal) {
    return new Map([...(await states.save(signal))].filter(([name]) => lasts(name)).map(([name, bytes]) => [name, new Uint8Array(bytes)]));
  },
  restore(saved) {
    for (const [name, bytes] of saved) states.write(name, bytes);
  },
});

export async function saveRun(
  state: RunState,
  progress: SavedProgress,
  identity: RunIdentity,
  signal?: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>> {
  const tensors = new Map<string, TensorToWrite>();
  const saved = await state.save(signal);
  for (const [name, { shape, dtype }] of state.tensors) tensors.set(name, { dtype: DTYPES[dtype], shape, data: saved.get(name)! });
  return writeSafetensors(tensors, { [KEY]: JSON.stringify({ format: FORMAT, progress, identity }) });
}

/**
 * Puts a run back to where it was saved; throws where it was begun with something else, and names what differs.
 * @returns how far it was
 */
export async function restoreRun(file: Uint8Array, state: RunState, identity: RunIdentity): Promise<SavedProgress> {
  const { saved, progress, identity: before } = await openRun(file);
  expectKind(kindOf(before), kindOf(identity), "a checkpoint");
  const differs = differences(before, identity);
  if (differs.length)
    throw fail(
      `a run goes on with what it was begun with, got another ${differs.join("; another ")}; ` +
        "give what it was begun with, or begin anew without this checkpoint (its weights can be saved and trained further)",
    );
  for (const [name, { shape, dtype }] of state.tensors) {
    const info = saved.tensors.get(name);
    if (!info || info.dtype !== DTYPES[dtype] || info.shape.join() !== shape.join())
      throw fail(
        `a checkpoint must hold ${name} ${DTYPES[dtype]} [${shape.join(", ")}], got ${info ? `[${info.shape.join(", ")}]` : "none"}`,
      );
  }
  const values = new Map<string, Uint8Array<ArrayBuffer>>();
  for (const name of state.tensors.keys()) values.set(name, (await saved.read(name)).bytes);
  state.restore(values);
  return progress;
}

const fail = (rule: string, cause?: unknown) => new CogwheelError("training", rule, cause === undefined ? undefined : { cause });

/** What a checkpoint says of its run, and its tensors, which are not read yet. */
async function openRun(file: Uint8Array): Promise<{ saved: SafetensorsFile; progress: SavedProgress; identity: RunIdentity }> {
  const path = "checkpoint.safetensors";
  const saved = await openSafetensors(memorySource({ [path]: file as Uint8Array<ArrayBuffer> }), path);
  const text = saved.metadata[KEY];
  if (text === undefined)
    throw fail("a run goes on from a checkpoint of a run, got a file without one; give what save() gave, or begin anew without it");
  const said = parseJsonObject(text, (rule, cause) => fail(`the checkpoint's ${KEY}: ${rule}`, cause));
  const { format, progress, identity } = said as { format?: unknown; progress?: SavedProgress; identity?: RunIdentity };
  if (format !== FORMAT || !isObject(progress) || !isObject(identity))
    throw fail(`a checkpoint must be of format ${FORMAT}, got ${JSON.stringify(format)}; it is of another version: begin anew`);
  return { saved, progress, identity };
}

/** What a run trains. */
export type RunKind = "transformer" | "vae";

const KINDS: Readonly<Record<RunKind, { readonly what: string; readonly by: string }>> = {
  transformer: { what: "a transformer", by: "train" },
  vae: { what: "a VAE", by: "train vae" },
};

const kindOf = ({ trained }: RunIdentity): RunKind => (typeof trained === "string" && trained.startsWith("vae,") ? "vae" : "transformer");

function expectKind(kind: RunKind, wanted: RunKind, where: string): void {
  if (kind !== wanted)
    throw fail(
      `a run goes on with what it trains, ${KINDS[wanted].what}, got ${where} that holds the training of ${KINDS[kind].what}; ` +
        `go on with that by \`${KINDS[kind].by}\`, or choose another folder`,
    );
}

/** Throws where a checkpoint is of the training of something else; what is none is told by who goes on from it. @param where it lies */
export async function expectRunOf(wanted: RunKind, file: Uint8Array, where: string): Promise<void> {
  const run = await openRun(file).catch(() => undefined);
  if (run) expectKind(kindOf(run.identity), wanted, where);
}
