/**
 * Reads a reference case (format `reference-case/1`): a safetensors file that says which outputs a module must give for
 * its config, weights and inputs. Files come from strangers, so names, shapes and metadata are checked here.
 */
import { toFloat32 } from "../../files/convert.ts";
import { parseJsonObject } from "../../base/json-scan.ts";
import { memorySource } from "../../sources/memory.ts";
import { openSafetensors } from "../../files/safetensors.ts";
import type { CheckpointSource } from "../../sources/source.ts";
import { firstLines } from "../../checkpoint/weight-index.ts";
import { CogwheelError } from "../../base/errors.ts";
import { elements } from "../../graph/dtype.ts";
import { storedValues } from "../../run/weight-provider.ts";
import type { ModuleContext } from "./module.ts";
import type { HostTensor, ReferenceCase } from "./reference-case.ts";

const FORMAT = "reference-case/1";

export interface ReadCaseOptions {
  /** Read what the reference's submodules gave too; it can be most of the file. Default false. */
  trace?: boolean;
}

/** A case from a file of `source`, or from the bytes of one. `name` is what reports call it. */
export async function readCase(
  from: Uint8Array | { source: CheckpointSource; path: string },
  name: string,
  { trace = false }: ReadCaseOptions = {},
): Promise<ReferenceCase> {
  const { source, path } = from instanceof Uint8Array ? { source: memorySource({ case: from }, name), path: "case" } : from;
  const file = await openSafetensors(source, path);
  const fail = (rule: string): CogwheelError => new CogwheelError("reference", `${name}: ${rule}`);
  const { format, module, config, options, source: madeBy } = file.metadata;
  if (format !== FORMAT)
    throw fail(
      `__metadata__ must say format ${FORMAT}, got ${JSON.stringify(format) ?? "none"}; make the file with test/reference/generate.py`,
    );
  if (!module) throw fail("__metadata__ must name a module, got none; add it");
  const groups = {
    input: new Map<string, HostTensor>(),
    weight: new Map<string, HostTensor>(),
    output: new Map<string, HostTensor>(),
    step: new Map<string, HostTensor>(),
    trace: new Map<string, HostTensor>(),
    cotangent: new Map<string, HostTensor>(),
    grad: new Map<string, HostTensor>(),
  };
  const loras: Map<string, HostTensor>[] = [];
  for (const [key, { shape, dtype }] of file.tensors) {
    const [, group, rest] = /^(input|weight|output|lora|step|trace|cotangent|grad)\.(.+)$/s.exec(key) ?? [];
    if (!group || !rest)
      throw fail(
        "tensors must be named input.…, weight.…, output.…, lora.<number>.…, cotangent.…, grad.…, " +
          `step.… or trace.<call>.…, got ${JSON.stringify(key)}; rename it`,
      );
    if (group === "trace" && !/^\d{1,6}\..+$/s.test(rest))
      throw fail(`tensors of a trace must be named trace.<call>.<module path>, got ${JSON.stringify(key)}; rename it`);
    if (group === "grad" && !/^(input|weight|lora\.\d{1,3})\../s.test(rest))
      throw fail(`gradients must be named grad.input.…, grad.weight.… or grad.lora.<number>.…, got ${JSON.stringify(key)}; rename it`);
    if (group === "trace" && !trace) continue;
    const tensor: HostTensor = { shape, data: toFloat32((await file.read(key)).bytes, dtype), integer: /^[IUB](\d|OOL)/.test(dtype) };
    if (group !== "lora") {
      groups[group as keyof typeof groups].set(rest, tensor);
      continue;
    }
    const [, index, weight] = /^(\d{1,3})\.(.+)$/s.exec(rest) ?? [];
    if (!index || !weight) throw fail(`LoRA tensors must be named lora.<number>.<weight>, got ${JSON.stringify(key)}; rename it`);
    while (loras.length <= Number(index)) loras.push(new Map());
    loras[Number(index)]!.set(weight, tensor);
  }
  if (groups.output.size === 0) throw fail("a case must have an output to compare with, got none; add output.<name>");
  if (groups.grad.size > 0 && groups.cotangent.size === 0)
    throw fail("gradients are of a scalar that the outputs make, got no cotangent of any; add cotangent.<output>");
  return {
    name,
    module,
    config: parseObject(config ?? "{}", "config", fail),
    options: parseObject(options ?? "{}", "options", fail),
    source: madeBy ?? "unknown",
    inputs: groups.input,
    weights: groups.weight,
    outputs: groups.output,
    steps: groups.step,
    trace: groups.trace,
    cotangents: groups.cotangent,
    gradients: groups.grad,
    loras,
  };
}

function parseObject(text: string, key: string, fail: (rule: string) => CogwheelError): Record<string, unknown> {
  return parseJsonObject(text, (rule) => fail(`${key} ${rule}; write it again`));
}

/** An input of a case, or an error that names what is missing or misshapen. `rank` axes, where it is given. */
export function inputOf(c: ReferenceCase, name: string, rank?: number): HostTensor {
  const tensor = c.inputs.get(name);
  if (!tensor)
    throw new CogwheelError(
      "reference",
      `${c.name}: ${c.module} takes the input ${name}, got ${[...c.inputs.keys()].join(", ") || "none"}; add input.${name}`,
    );
  if (rank !== undefined && tensor.shape.length !== rank)
    throw new CogwheelError("reference", `${c.name}: input.${name} must have ${rank} axes, got [${tensor.shape.join(", ")}]; reshape it`);
  if (tensor.data.length === 0)
    throw new CogwheelError(
      "reference",
      `${c.name}: input.${name} must hold values, got [${tensor.shape.join(", ")}]; make the case again`,
    );
  return tensor;
}

/** The weights of a case as a provider: matrices stored as `dtype`, vectors always f32. */
export function caseWeights(c: ReferenceCase, dtype: "f32" | "f16", prefix = ""): ReturnType<ModuleContext["weights"]> {
  const find = (name: string): HostTensor | undefined => c.weights.get(prefix + name);
  const get = (name: string): HostTensor => {
    const tensor = find(name);
    if (!tensor)
      throw new CogwheelError(
        "reference",
        `${c.name}: ${c.module} needs the weight ${prefix}${name}, got none of that name; add weight.${prefix}${name}`,
      );
    return tensor;
  };
  return {
    type: (name) => ((find(name)?.shape.length ?? 0) > 1 ? dtype : "f32"),
    shape: (name) => find(name)?.shape,
    names: () => [...c.weights.keys()].filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length)),
    values: (name) => get(name).data,
    stored: (name) => storedValues(`weight.${prefix}${name} of ${c.name}`, get(name).data, get(name).shape),
  };
}

/** Inputs of one batch: throws unless the axes that `letters` name alike are alike. */
export function agree(c: ReferenceCase, shapes: Record<string, readonly [HostTensor, string]>): void {
  const seen = new Map<string, [number, string]>();
  for (const [name, [{ shape }, letters]] of Object.entries(shapes)) {
    shape.forEach((size, axis) => {
      const letter = letters[axis]!;
      const before = seen.get(letter);
      if (before && before[0] !== size)
        throw new CogwheelError(
          "reference",
          `${c.name}: input.${name} must agree with input.${before[1]} on axis ${axis}, ` +
            `${before[0]}, got [${shape.join(", ")}]; make the case again`,
        );
      seen.set(letter, [size, name]);
    });
  }
}

/** Throws where a case has gradients, naming the op that has none yet. */
export function refuseGradients(c: ReferenceCase, op: string): void {
  if (c.gradients.size > 0)
    throw new CogwheelError(
      op,
      `an op through which a gradient goes must have one, got none for those of ${c.module}; leave out cotangent.… and grad.…`,
    );
}

/** Throws, listing all, when weights are missing or have another shape than the model's. */
export function expectCaseWeights(
  c: ReferenceCase,
  provider: Pick<ReturnType<ModuleContext["weights"]>, "shape">,
  expected: ReadonlyMap<string, readonly number[]>,
): void {
  const wrong = [...expected].flatMap(([name, shape]) => {
    const got = provider.shape(name);
    return got && got.join() === shape.join()
      ? []
      : [`${name}: expected [${shape.join(", ")}], got ${got ? `[${got.join(", ")}]` : "none"}`];
  });
  if (wrong.length)
    throw new CogwheelError(
      "reference",
      `${c.name}: every weight must be there in its shape, got ${wrong.length} of ${expected.size} that are not; make the case again:`,
      { lines: firstLines(wrong) },
    );
}

/** A tensor for a report: checks that shape and data agree. */
export function hostTensor(data: Float32Array, shape: readonly number[]): HostTensor {
  if (data.length !== elements(shape))
    throw new CogwheelError("reference", `a result must fill its shape, got ${data.length} values for [${shape.join(", ")}]`);
  return { shape, data };
}
