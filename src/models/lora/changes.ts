/**
 * The changes of the model's weights that adapters' files hold, checked. `keys.ts` reads the names of an adapter's tensors,
 * `config.ts` what PEFT's config says of them.
 */
import { CogwheelError } from "../../base/errors.ts";
import type { LoraAdapter, LoraChange, LoraTensor, ShapeOf } from "./merge.ts";
import { readLoraConfig } from "./config.ts";
import { parseLoraKey, unsupportedKey } from "./keys.ts";

/** The matrices of one module, as they are found in a file. */
interface Found {
  readonly path: string;
  readonly sat: boolean;
  down?: [key: string, tensor: LoraTensor];
  up?: [key: string, tensor: LoraTensor];
  alpha?: [key: string, tensor: LoraTensor];
}

type Fail = (rule: string) => never;

/**
 * The changes that adapters make, by weight. Throws for a key that names no weight of the model, for a pair that is not whole or
 * does not fit its weight, and for what would be left out or done wrongly without a word (DoRA, biases, text encoders, a base that
 * the training changed: see `readLoraConfig`).
 * @param weights names of the model's weights
 */
export function loraChanges(adapters: readonly LoraAdapter[], weights: Iterable<string>, shapeOf: ShapeOf): Map<string, LoraChange[]> {
  const names = [...weights].filter((name) => name.endsWith(".weight")).map((name) => name.slice(0, -".weight".length));
  const modules = new Map(names.map((name) => [name.replaceAll(".", "_"), name]));
  const changes = new Map<string, LoraChange[]>();
  for (const [i, adapter] of adapters.entries()) {
    const { label = `adapter ${i + 1}` } = adapter;
    const fail: Fail = (rule) => {
      throw new CogwheelError("lora", `${label}: ${rule}`);
    };
    if (!Number.isFinite(adapter.scale)) fail(`the scale must be a finite number, got ${adapter.scale}`);
    const config = adapter.config && readLoraConfig(adapter.config, label);
    for (const [module, found] of findPairs(adapter.tensors, modules, shapeOf, fail)) {
      const weight = `${module}.weight`;
      const shape = shapeOf(weight)!;
      const { up, down, rank } = wholePair(module, found, shape, fail);
      const left = config?.leavesOut(found.path, shape.length === 2);
      if (left !== undefined)
        fail(
          `the config's ${left} must name what the file holds, ` +
            `got ${down[0]}, which PEFT would not load; correct the config, or save the adapter again`,
        );
      if (config && config.rank(found.path) !== rank)
        fail(
          `r and rank_pattern of the config must be the rank of the matrices, got ${config.rank(found.path)} ` +
            `for ${down[0]} [${down[1].shape.join(", ")}]; config and file belong to different adapters`,
        );
      const alpha = alphaOf(module, found, config?.alpha(found.path), rank, fail);
      const factor = (adapter.scale * alpha) / (config?.rslora ? Math.sqrt(rank) : rank);
      if (!Number.isFinite(factor))
        fail(`scale · alpha of ${module} must be a finite number, got ${adapter.scale} · ${alpha}; give another scale`);
      changes.set(weight, [...(changes.get(weight) ?? []), { up: up[1].data, down: down[1].data, rank, factor }]);
    }
  }
  return changes;
}

/** What a file holds, by module. */
function findPairs(
  tensors: LoraAdapter["tensors"],
  modules: ReadonlyMap<string, string>,
  shapeOf: ShapeOf,
  fail: Fail,
): Map<string, Found> {
  const all = new Map<string, Found>();
  for (const [key, tensor] of tensors) {
    const unsupported = unsupportedKey(key, (name) => shapeOf(name) !== undefined);
    if (unsupported !== undefined) fail(`keys must be those of a plain LoRA of the transformer, got ${key}; ${unsupported}`);
    const target =
      parseLoraKey(key, modules) ??
      fail(`keys must be those of a LoRA (see docs/lora.md), got ${key}; this is no adapter, or it changes what is not supported`);
    const { module, part, path, sat } = target;
    if (shapeOf(`${module}.weight`) === undefined)
      fail(`an adapter must change weights of this model, got ${key}, which would be ${module}.weight; it was trained for another one`);
    const found = all.get(module) ?? { path, sat };
    const before = found[part];
    if (before) fail(`a module's matrices may stand once, got ${before[0]} and ${key}; the file is damaged or holds two adapters`);
    found[part] = [key, tensor];
    all.set(module, found);
  }
  if (all.size === 0) fail("an adapter must hold at least one pair of matrices, got none; is this the right file?");
  return all;
}

/** Both matrices, which must fit each other and the weight. */
function wholePair(
  module: string,
  { down, up, alpha }: Found,
  shape: readonly number[],
  fail: Fail,
): { down: [string, LoraTensor]; up: [string, LoraTensor]; rank: number } {
  if (!down && !up) fail(`${alpha![0]} needs its matrices, got none; the file is incomplete`);
  const [key, one] = (down ?? up)!;
  if (!down || !up) return fail(`${key} [${one.shape.join(", ")}] needs its counterpart, got none; the file is incomplete`);
  const rank = down[1].shape[0] ?? 0;
  const out = up[1].shape[0] ?? 0;
  if (rank < 1 || up[1].data.length !== out * rank)
    fail(
      `${down[0]} and ${up[0]} must share a rank, got [${down[1].shape.join(", ")}] and [${up[1].shape.join(", ")}]; the file is damaged`,
    );
  // A convolution's adapter has a kernel of the convolution's size, then one of 1; some trainers flatten them, or write a Linear's with
  // kernels of 1.
  const inner = down[1].shape.slice(1);
  const wanted = shape.slice(1);
  const flat = [wanted.reduce((a, b) => a * b, 1)];
  const fits = [wanted, flat].some((want) => inner.filter((n) => n !== 1).join() === want.filter((n) => n !== 1).join());
  if (out !== shape[0] || !fits)
    fail(
      `${key} must change ${module}.weight [${shape.join(", ")}], ` +
        `got a change of [${[out, ...inner].join(", ")}]; the adapter was trained for another model`,
    );
  for (const [name, { data }] of [down, up])
    if (!data.every(Number.isFinite)) fail(`${name} must hold finite numbers, got others; the file is damaged`);
  return { down, up, rank };
}

/** The tensor `alpha`, which no config may contradict; what a config says; 1 for the authors' own keys; else the rank. */
function alphaOf(module: string, { alpha, sat }: Found, configured: number | undefined, rank: number, fail: Fail): number {
  if (!alpha) return configured ?? (sat ? 1 : rank);
  const [key, { data, shape }] = alpha;
  if (data.length !== 1) fail(`${key} must be one number, got [${shape.join(", ")}]; the file is damaged`);
  if (!Number.isFinite(data[0])) fail(`alpha of ${module} must be a finite number, got ${data[0]}; the file is damaged`);
  if (configured !== undefined && Math.fround(configured) !== Math.fround(data[0]!))
    fail(`${key} and the config's lora_alpha must be equal, got ${data[0]} and ${configured}; remove the one that is wrong`);
  return data[0]!;
}
