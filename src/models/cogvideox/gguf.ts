/** Transformers as `cogwheel quantize` writes them in GGUF: diffusers' names, and the config as JSON under one key. */
import { parseJsonObject } from "../../base/json-scan.ts";
import { CogwheelError } from "../../base/errors.ts";
import type { GgufArchitectures } from "../../checkpoint/component-file.ts";
import type { GgufValue } from "../../files/gguf.ts";

const ARCHITECTURE = "cogvideox";
const CONFIG = `${ARCHITECTURE}.config`;

export const TRANSFORMER_GGUF: GgufArchitectures = {
  [ARCHITECTURE]: {
    weight: (tensor) => tensor,
    config({ path, metadata }) {
      const text = metadata.get(CONFIG);
      if (text === undefined) return undefined;
      return parseJsonObject(
        typeof text === "string" ? text : JSON.stringify(text),
        (rule) => new CogwheelError("checkpoint", `${path}: ${CONFIG} ${rule}; write the file again, or give its config yourself`),
      );
    },
  },
};

/** What such a file is written with. @param config as it stands in transformer/config.json */
export const transformerMetadata = (config: Readonly<Record<string, unknown>>): Map<string, GgufValue> =>
  new Map<string, GgufValue>([
    ["general.architecture", ARCHITECTURE],
    [CONFIG, JSON.stringify(config)],
  ]);
