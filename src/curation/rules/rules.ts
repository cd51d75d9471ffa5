/**
 * The rules that captions and prompts keep, and what models are told so that they do: one file for both ends. A model learns from captions
 * of one kind and is prompted with texts of the same kind, or it has not seen what it is asked for. After the CogVideoX paper (appendices
 * F and G; its prompts are told there in outline) and the authors' `convert_demo.py`.
 */
import { CogwheelError } from "../../base/errors.ts";
import { brief } from "../../base/brief.ts";
import { isObject } from "../../base/json-scan.ts";

/** What a text must keep to. */
export interface TextRules {
  readonly maxWords: number;
  /** With the end mark, as the text encoder reads them: 226 of T5 for the published models. */
  readonly maxTokens: number;
  /** Beginnings that say nothing. Case does not matter, nor does an article before them. */
  readonly openers: readonly string[];
  /** Words and phrases that may stand nowhere. */
  readonly phrases: readonly string[];
}

/** Rules, and the instructions that go with them. */
export interface Rules {
  readonly caption: TextRules;
  readonly prompt: TextRules;
  readonly instructions: {
    /** Step 1: a short caption of the clip, from a few frames. */
    readonly short: string;
    /** Step 2: one frame, densely. */
    readonly frame: string;
    /** Step 3: one caption out of those. */
    readonly merge: string;
    /** In place of the three: a caption from all frames in one request. */
    readonly clip: string;
    /** Of a picture, in one request. */
    readonly picture: string;
    /** A prompt for text to video. */
    readonly textToVideo: string;
    /** A prompt for image to video. */
    readonly imageToVideo: string;
  };
  /** Prompts and what was made of them, shown to the model before it is asked. */
  readonly examples: readonly { readonly prompt: string; readonly text: string }[];
}

/** “The video shows”, “In this clip”, “This is a picture of” … */
const THINGS = ["video", "clip", "image", "picture", "footage", "frame", "scene", "sequence", "shot"];
const VERBS = ["shows", "depicts", "features", "opens", "begins", "starts", "captures", "presents", "displays", "portrays", "is", "of"];
const OPENERS = [
  ...THINGS.flatMap((thing) => VERBS.map((verb) => `${thing} ${verb}`)),
  ...THINGS.flatMap((thing) => [`in this ${thing}`, `in the ${thing}`, `this is a ${thing}`, `this is an ${thing}`]),
  ...["we see", "we can see", "here is", "here's", "sure", "certainly", "as requested", "description", "caption"],
  // A refusal is no description.
  ...["i'm sorry", "i am sorry", "sorry", "i cannot", "i can't", "i'm unable", "as an ai", "unfortunately"],
];

const LIMITS = { maxWords: 100, maxTokens: 226 };

/** The product's own rules. */
export const RULES: Rules = {
  caption: {
    ...LIMITS,
    openers: OPENERS,
    phrases: [
      "video",
      "the clip",
      "as the scene progresses",
      "as the clip progresses",
      "frame by frame",
      "the first frame",
      "the last frame",
    ],
  },
  prompt: { ...LIMITS, openers: OPENERS, phrases: ["the video", "the image shows", "the image depicts"] },
  instructions: {
    short:
      "These are frames of one short clip, in order of time. Say in one English sentence of at most 20 words what happens in it: who or " +
      "what, doing what, where. Begin with the subject itself, not with words such as “The video shows”. Answer with that sentence alone.",
    frame:
      "Describe this picture in English, densely and plainly: the subjects with their looks and poses, what they do, the surroundings, " +
      "the light, the colours, the style, how near and from where the camera looks. Say only what can be seen; guess nothing, judge " +
      "nothing. One paragraph of at most 120 words. Begin with the content itself, not with words such as “The image shows”.",
    merge:
      "You are given what is known of one short clip: a short caption, and descriptions of single frames with their time in seconds. " +
      "Write from them one description of the whole clip, as somebody who has watched it.\n" +
      "- At most 100 English words, in one paragraph without line breaks.\n" +
      "- Events, and movements of the camera where there are any, in the order in which they happen.\n" +
      "- What stays the same in all descriptions is said once; what only one of them claims and others contradict is left out.\n" +
      "- Nothing is invented.\n" +
      "- Do not mention frames, descriptions, captions or seconds, and do not use the word “video”.\n" +
      "- Do not begin with phrases such as “The video shows” or “The scene depicts”, nor write “as the video progresses”: begin with the " +
      "content itself.\n" +
      "Answer with the description alone.",
    clip:
      "These are frames of one short clip, in order of time, each with its second. Describe the clip in detail, as somebody who has " +
      "watched it: the subjects and their looks, what they do, the surroundings, the light and the style; events and movements of the " +
      "camera in the order in which they happen. At most 100 English words, in one paragraph without line breaks. Say only what can be " +
      "seen. Do not mention frames or seconds, do not use the word “video”, and do not begin with phrases such as “The video shows”: " +
      "begin with the content itself. Answer with the description alone.",
    picture:
      "Describe this picture in English in detail: the subjects and their looks, what they do, the surroundings, the light, the colours, " +
      "the style, how near and from where the camera looks. At most 100 words, in one paragraph without line breaks. Say only what can " +
      "be seen. Begin with the content itself, not with words such as “The image shows”. Answer with the description alone.",
    textToVideo:
      "You write prompts for a model that makes short videos. From what the user wrote, however short, you make one detailed " +
      "description of a single continuous shot: the subjects and their looks, what they do, the surroundings, the light, the style, and " +
      "what the camera does. Keep everything that the user asked for, in their sense; add what makes it visible. Where the user asks for " +
      "a change of an earlier description, write the whole description anew. About as long as the examples, at most 100 words, in " +
      "English, in one paragraph without line breaks. Begin with the content itself. Answer with the description alone.",
    imageToVideo:
      "You write prompts for a model that makes a short video from its first frame, which is the picture. Describe in English what is in " +
      "the picture and how it moves from this moment on, in a single continuous shot: no cuts, no changes of scene or of perspective, " +
      "nothing that contradicts the picture. Where the user wrote a text, the movement follows it. At most 100 words, in one paragraph " +
      "without line breaks. Do not write “the image shows”: begin with the content itself. Answer with the description alone.",
  },
  examples: [
    {
      prompt: "a girl on the beach",
      text:
        "A young girl in a pale yellow dress walks barefoot along a wide sandy beach at sunset, the wind lifting her long dark hair. Low " +
        "golden light shimmers on the wet sand and on gentle waves that roll in behind her and wash over her footprints. She turns her " +
        "head towards the sea, smiles, and spreads her arms as she begins to skip through the shallow water, small splashes glittering " +
        "around her ankles. The camera follows her at eye level from the side, slowly drawing nearer, with the horizon and a few distant " +
        "sailboats softly out of focus.",
    },
    {
      prompt: "a dog is driving a car",
      text:
        "A shaggy golden retriever in round sunglasses sits upright behind the wheel of a sky-blue vintage convertible, both front " +
        "paws on the leather steering wheel. The car rolls along a coastal road lined with palm trees under bright afternoon sun, and " +
        "the dog's ears flap in the wind while its tongue hangs out happily. It glances to the side, then back to the road, turning the " +
        "wheel a little as the road bends. The camera rides beside the car, keeping the dog in a medium close-up, while sea and cliffs " +
        "glide past in a warm, gently blurred background.",
    },
    {
      prompt: "city at night, rain",
      text:
        "Rain falls steadily on a narrow city street at night, and neon signs in pink and turquoise spread across the wet asphalt in " +
        "trembling reflections. A woman in a dark coat, holding a transparent umbrella, walks away from the camera past lit shop windows " +
        "and steaming food stalls, her boots sending ripples through the puddles. A taxi drives by slowly, its headlights sweeping over " +
        "the drops in the air, and a cyclist crosses behind it. The camera glides forward at walking height, following her, in a moody " +
        "cinematic style with deep shadows and sharp points of light.",
    },
  ],
};

/** The rules with a person's own in place of some: a JSON object of the same form, which may leave out anything. */
export function rulesWith(own: unknown, where = "rules"): Rules {
  return merged(RULES, own, where) as Rules;
}

function merged(base: unknown, own: unknown, where: string): unknown {
  if (own === undefined) return base;
  const fail = (must: string): never => {
    throw new CogwheelError("rules", `${where} must be ${must}, got ${brief(own)}; correct it`);
  };
  if (isObject(base)) {
    if (!isObject(own)) return fail("an object");
    for (const name of Object.keys(own))
      if (!Object.hasOwn(base, name))
        throw new CogwheelError("rules", `${where} must have no names but ${Object.keys(base).join(", ")}, got ${brief(name)}; correct it`);
    return Object.fromEntries(Object.entries(base).map(([name, value]) => [name, merged(value, own[name], `${where}.${name}`)]));
  }
  if (typeof base === "number") return Number.isInteger(own) && (own as number) > 0 ? own : fail("a whole number above 0");
  if (typeof base === "string") return typeof own === "string" && own.trim() ? own : fail("a text");
  if (!Array.isArray(own)) return fail("a list");
  const [sample] = base as unknown[];
  if (typeof sample === "string") return own.every((one) => typeof one === "string" && one.trim()) ? own : fail("a list of texts");
  return own.every((one) => isObject(one) && typeof one["prompt"] === "string" && typeof one["text"] === "string")
    ? own
    : fail("a list of { prompt, text }");
}
