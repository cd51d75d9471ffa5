/** The published models that people choose from: their short names, where they are, and their licences. */
import type { PublishedName } from "./published-models.ts";

/** A published model that can be named in short. */
export interface NamedModel {
  readonly alias: string;
  /** On the hub. */
  readonly id: string;
  readonly published: PublishedName;
  readonly makes: string;
  /** As its page says it. */
  readonly licence: string;
}

const THEIRS = "CogVideoX License";

export const NAMED_MODELS: readonly NamedModel[] = [
  { alias: "2b", id: "zai-org/CogVideoX-2b", published: "cogvideox-2b", makes: "text to video", licence: "Apache-2.0" },
  { alias: "5b", id: "zai-org/CogVideoX-5b", published: "cogvideox-5b", makes: "text to video", licence: THEIRS },
  { alias: "5b-i2v", id: "zai-org/CogVideoX-5b-I2V", published: "cogvideox-5b-i2v", makes: "image to video", licence: THEIRS },
  { alias: "1.5-5b", id: "zai-org/CogVideoX1.5-5B", published: "cogvideox-1.5-5b", makes: "text to video", licence: THEIRS },
  { alias: "1.5-5b-i2v", id: "zai-org/CogVideoX1.5-5B-I2V", published: "cogvideox-1.5-5b-i2v", makes: "image to video", licence: THEIRS },
];
