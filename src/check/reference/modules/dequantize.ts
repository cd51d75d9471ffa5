/** `dequantize` of the reference format: a weight as a file stores it, unpacked by the kernels that loading uses. */
import { f16ToNumber, numberToF16 } from "../../../base/half.ts";
import { CogwheelError } from "../../../base/errors.ts";
import { elements } from "../../../graph/dtype.ts";
import { Graph } from "../../../graph/graph.ts";
import { padTo } from "../../../graph/packing.ts";
import { FORMATS, rowBytes, type Format } from "../../../graph/stored.ts";
import { unpack } from "../../../ops/unpack.ts";
import { runGraph } from "../../../run/run-graph.ts";
import { hostTensor, inputOf } from "../case.ts";
import type { ReferenceModule } from "../module.ts";
import type { HostTensor } from "../reference-case.ts";

/** By the names of safetensors and of ggml, which the option `type` has. */
const TYPES: Readonly<Record<string, Format>> = {
  F32: "f32",
  F16: "f16",
  BF16: "bf16",
  F8_E4M3: "e4m3",
  F8_E4M3_scaled: "e4m3",
  Q8_0: "q8_0",
  Q5_0: "q5_0",
  Q4_0: "q4_0",
  Q4_K: "q4_k",
  Q5_K: "q5_k",
  Q6_K: "q6_k",
};

const dequantize: ReferenceModule = async (c, context) => {
  const fail = (rule: string, got: string, remedy: string): never => {
    throw new CogwheelError("reference", `${c.name}: ${rule}, got ${got}; ${remedy}`);
  };
  const { type, shape } = c.options;
  const format = typeof type === "string" && Object.hasOwn(TYPES, type) ? TYPES[type]! : undefined;
  if (!format) return fail(`options.type must be one of ${Object.keys(TYPES).join(", ")}`, JSON.stringify(type), "convert the weight");
  const whole = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) > 0;
  if (!(Array.isArray(shape) && shape.length === 2 && shape.every(whole)))
    return fail("options.shape must be [out, in]", JSON.stringify(shape) ?? "none", "correct it");
  const [out, inner] = shape as [number, number];
  if (inner % FORMATS[format].values !== 0)
    return fail(`rows of ${type as string} must be whole blocks of ${FORMATS[format].values}`, `rows of ${inner}`, "correct the shape");
  const raw = inputOf(c, "raw", 2);
  const row = rowBytes({ shape: [out, inner], format });
  if (raw.shape[0] !== out || raw.shape[1] !== row)
    return fail(`input.raw must be [${out}, ${row}]`, `[${raw.shape.join(", ")}]`, "give it the bytes of the rows");
  const scaled = type === "F8_E4M3_scaled";
  const scale = scaled ? inputOf(c, "scale") : c.inputs.get("scale");
  if (scale && scale.data.length !== 1 && scale.data.length !== out)
    return fail(`input.scale must have 1 value or ${out}`, `[${scale.shape.join(", ")}]`, "give one, or one a row");
  if (scale && !scaled) return fail("only F8_E4M3_scaled takes a scale", `one for ${type as string}`, "leave it out, or correct the type");
  const bytes = new Uint8Array(padTo(raw.data.length, 4));
  bytes.set(raw.data);
  const { dtype } = context;
  const inputs = { raw: new Uint32Array(bytes.buffer), ...(scale && { scale: scale.data }) };
  const graph = new Graph("dequantize");
  graph.output(
    "sample",
    unpack(graph.input("raw", [bytes.length / 4], "u32"), {
      format,
      shape: [out, inner],
      packing: "natural",
      dtype,
      ...(scale && { scale: graph.input("scale", [scale.data.length]) }),
    }),
  );
  const { sample } = await runGraph(context.gpu, graph, inputs, undefined, { checkFinite: context.checkFinite });
  return { sample: hostTensor(sample!.subarray(0, elements(shape)), shape) };
};

/** What must come out with f16 storage: the reference's values, each rounded to the nearest f16, ties to even. */
export const roundedToF16 = ({ shape, data }: HostTensor): HostTensor => ({
  shape,
  data: Float32Array.from(data, (value) => f16ToNumber(numberToF16(value))),
});

export const dequantizeModules: Record<string, ReferenceModule> = { dequantize };
