/** Endpoints as a config names them, with their keys out of the environment, and one account for all. */
import { CogwheelError } from "../../base/errors.ts";
import type { EndpointOptions } from "../../curation/endpoint/options.ts";
import type { Account } from "../../curation/endpoint/spent.ts";
import { defined } from "../../pipelines/options.ts";
import type { CaptionConfig } from "./caption-keys.ts";
import type { VisionConfig } from "./vision-keys.ts";

const KEY = "COGWHEEL_API_KEY";

/** The key of a variable that is named; of the usual one, where it is set. */
export function keyFrom(name: string | undefined): string | undefined {
  return name === undefined ? process.env[KEY] || undefined : namedKey(name);
}

/** The key of a variable that is named; none otherwise: the usual key is not for every server. */
export function namedKey(name: string | undefined): string | undefined {
  const key = name === undefined ? undefined : process.env[name] || undefined;
  if (name !== undefined && key === undefined)
    throw new CogwheelError("caption", `the variable ${name} must hold the endpoint's key, got none; set it, or leave keyEnv out`);
  return key;
}

/** Who is asked about pictures, as `caption` and `label` both name it. Throws where no address is given. */
export function visionEndpoint(
  config: VisionConfig,
  account: Account,
  onWarning: (message: string) => void,
): EndpointOptions & { url: string } {
  const { url, model, concurrency, timeout, tries, body } = config;
  if (url === undefined)
    throw new CogwheelError("caption", "captions must have a model that writes them, got no url; name one with --url, or in the config");
  return {
    url,
    ...defined({ concurrency, timeoutSeconds: timeout, tries, body }),
    account,
    onWarning,
    ...defined({ model, key: keyFrom(config.keyEnv), inputPerMillion: config.inputPrice, outputPerMillion: config.outputPrice }),
  };
}

export interface NamedEndpoints {
  readonly vision: EndpointOptions;
  readonly summariser: EndpointOptions;
}

/** Throws where no address is given. */
export function endpointsOf(config: CaptionConfig, account: Account, onWarning: (message: string) => void): NamedEndpoints {
  const { summariserUrl, concurrency, timeout, tries, body } = config;
  const vision = visionEndpoint(config, account, onWarning);
  const { url } = vision;
  const elsewhere = summariserUrl !== undefined && summariserUrl !== url;
  // What holds for the one holds for the other at the same address alone: a key goes to whom it is for.
  const base = elsewhere ? { ...defined({ concurrency, timeoutSeconds: timeout, tries, body }), account, onWarning } : vision;
  const summariser = {
    ...base,
    url: summariserUrl ?? url,
    ...defined({
      model: config.summariserModel,
      key: namedKey(config.summariserKeyEnv),
      inputPerMillion: config.summariserInputPrice,
      outputPerMillion: config.summariserOutputPrice,
    }),
  };
  return { vision, summariser };
}
