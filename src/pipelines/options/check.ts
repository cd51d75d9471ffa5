/** Refuses values that an option does not take, by what the table says of it. */
import { CogwheelError } from "../../base/errors.ts";
import { nearestName } from "../../base/near-name.ts";
import { DIFFUSERS_NAMES, DIFFUSERS_ONLY } from "./diffusers-names.ts";
import type { Option, ValueRule } from "./option.ts";
import { OPTIONS, optionOf, type OptionName } from "./table.ts";

/** Of a text. A tokenizer takes some 70 bytes for each. */
const MOST_CHARACTERS = 100_000;

/** Which numbers an option takes, in words. */
export function rangeText({ whole, above, min, max, range: words }: ValueRule<unknown>): string {
  if (words !== undefined) return words;
  const most = max === Number.MAX_SAFE_INTEGER ? "2^53 − 1" : max;
  const from = above !== undefined ? `above ${above}` : min !== undefined ? `from ${min}` : undefined;
  const to = most === undefined ? (min === undefined ? undefined : "up") : min === undefined ? `up to ${most}` : `to ${most}`;
  const range = [from, to].filter((part) => part !== undefined).join(above === undefined ? " " : " and ");
  return `a ${whole ? "whole " : ""}number${range ? ` ${range}` : ""}`;
}

/** What a list of numbers may be, in words. */
export const FALLING = "a list of whole numbers from 0 up, each below the one before";
/** As many as there may be steps. */
const MOST_NUMBERS = 1000;

const isFalling = (value: unknown): boolean =>
  Array.isArray(value) &&
  value.length > 0 &&
  value.length <= MOST_NUMBERS &&
  value.every((v, i) => Number.isSafeInteger(v) && v >= 0 && (i === 0 || v < value[i - 1]));

/** What a choice may be, in words. */
export function choiceText({ choices = {} }: ValueRule<unknown>): string {
  const names = Object.keys(choices);
  return names.length === 2 ? names.join(" or ") : names.join(", ");
}

function isWithin(value: unknown, { whole, above = -Infinity, min = -Infinity, max = Infinity }: ValueRule<unknown>): boolean {
  if (typeof value !== "number" || !(whole ? Number.isSafeInteger(value) : Number.isFinite(value))) return false;
  return value > above && value >= min && value <= max;
}

/** Characters of a value in an error. */
const BRIEF = 60;
const brief = (value: unknown): string | undefined => JSON.stringify(value)?.slice(0, BRIEF);

/** What is wrong with a value, as an error says it; undefined where nothing is, and for what other checks look at. */
function wrongWith(name: string, { values, called = name, remedy }: Option<unknown>, value: unknown): string | undefined {
  const advice = remedy === undefined ? "" : `; ${remedy}`;
  switch (values.kind) {
    case "text":
      if (typeof value !== "string") return `${called} must be a text, got ${brief(value)}${advice}`;
      if (value.length > MOST_CHARACTERS)
        return (
          `${called} may have ${MOST_CHARACTERS} characters, ` +
          `of which a model reads the first few hundred words, got ${value.length}; shorten it`
        );
      return undefined;
    case "bytes":
    case "number": {
      // Where no range is told it follows from the model (settings.ts).
      const ranged = values.whole || values.above !== undefined || values.min !== undefined || values.max !== undefined;
      return ranged && !isWithin(value, values) ? `${called} must be ${rangeText(values)}, got ${String(value)}${advice}` : undefined;
    }
    case "numbers":
      return isFalling(value) ? undefined : `${called} must be ${FALLING}, got ${brief(value)}${advice}`;
    case "choice":
      if (typeof value === "string" && Object.hasOwn(values.choices!, value)) return undefined;
      return `${called} must be ${choiceText(values)}, got ${JSON.stringify(value)}${advice}`;
    case "adapters":
      if (Array.isArray(value) && value.every((lora) => lora?.adapter)) return undefined;
      return `${called} must be a list of { adapter, scale }, got ${brief(value)}${advice}`;
    default:
      return undefined;
  }
}

/** What is wrong with a value of this option, as an error says it; undefined where it takes the value. */
export const whatIsWrong = (name: OptionName, value: unknown): string | undefined => wrongWith(name, optionOf(name), value);

/** Throws unless the option takes this value. */
export function expectOption(name: OptionName, value: unknown, room = "generate"): void {
  const wrong = whatIsWrong(name, value);
  if (wrong !== undefined) throw new CogwheelError(room, wrong);
}

function meant(unknown: string, known: readonly string[]): string {
  if (Object.hasOwn(DIFFUSERS_NAMES, unknown)) return `what diffusers calls so is called ${DIFFUSERS_NAMES[unknown]} here`;
  if (Object.hasOwn(DIFFUSERS_ONLY, unknown)) return `diffusers has it, and here ${DIFFUSERS_ONLY[unknown]}; leave it out`;
  const near = nearestName(unknown, known);
  return near === undefined ? "check its spelling" : `did you mean ${near}?`;
}

/** An option that is misspelled would change nothing, silently. */
export function checkNames(options: object, known: readonly string[], room: string): void {
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown !== undefined)
    throw new CogwheelError(room, `options must be among ${known.join(", ")}, got ${JSON.stringify(unknown)}; ${meant(unknown, known)}`, {
      code: "invalid-request",
    });
}

/** Throws for what is wrong by itself. */
export function checkOptions(options: object & { prompt?: unknown; textures?: unknown; onFrames?: unknown; tiling?: unknown }): void {
  const fail = (rule: string): never => {
    throw new CogwheelError("generate", rule);
  };
  checkNames(options, Object.keys(OPTIONS), "generate");
  if (options.prompt !== undefined && typeof options.prompt !== "string")
    fail(`the prompt must be a text, got ${JSON.stringify(options.prompt)}; say what to show`);
  if (typeof options.prompt !== "string" || options.prompt.trim() === "")
    fail(`the prompt must not be empty, got ${JSON.stringify(options.prompt)}; say what to show`);
  for (const [name, value] of Object.entries(options)) if (value !== undefined) expectOption(name as OptionName, value);
  if (options.textures && options.onFrames)
    fail("frames are either left on the device or handed over, got textures and onFrames; leave one out");
  if (options.textures && options.tiling === "reference")
    fail("textures are made as frames are decoded, got tiling reference, which blends them at the end; leave one out");
}
