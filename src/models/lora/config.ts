/**
 * PEFT's LoraConfig, as `adapter_config.json` or the metadata of diffusers' files hold it. Every field either is read as PEFT 0.21
 * reads it, or cannot change what a saved adapter computes, or must be off; a field that nothing here knows must be off too.
 */
import { brief } from "../../base/brief.ts";
import { parseJsonObject } from "../../base/json-scan.ts";
import { CogwheelError } from "../../base/errors.ts";
import { codes, namesOf, PythonRegex, PythonRegexError, type MatchBudget } from "./python-regex.ts";

/** What a config says of the modules of an adapter. */
export interface LoraConfig {
  /** The rank that a module's matrices must have. */
  rank(path: string): number;
  /** The product of a module's matrices counts alpha / rank times, or alpha / √rank with rsLoRA. */
  alpha(path: string): number;
  readonly rslora: boolean;
  /** Which field leaves a module out, if one does. PEFT does not load what a file holds of such a module. */
  leavesOut(path: string, isLinear: boolean): string | undefined;
}

type Fields = Readonly<Record<string, unknown>>;
type Fail = (rule: string) => never;

const MERGE = "merge it into the model with PEFT (merge_and_unload) and save that";
/**
 * Fields that change nothing in what a saved adapter computes on this model: notes,
 * training, and what belongs to an init that is refused.
 */
const WITHOUT_EFFECT = new Set([
  "auto_mapping",
  "base_model_name_or_path",
  "corda_config",
  "ensure_weight_tying",
  "eva_config",
  "fan_in_fan_out",
  "inference_mode",
  "loftq_config",
  "lora_dropout",
  "lora_ga_config",
  "megatron_core",
  "merge_weights",
  "peft_version",
  "qalora_group_size",
  "revision",
  "runtime_config",
  "task_type",
]);
/** Fields that make something else than W + scale · up · down of it. */
const MUST_BE_OFF: Readonly<Record<string, string>> = {
  alora_invocation_tokens: "Activated LoRA",
  arrow_config: "Arrow",
  enable_lora: "LoRA of parts of a weight",
  kasa_config: "KaSA",
  layer_replication: "replicated layers",
  lora_bias: "a bias beside the matrices",
  megatron_config: "Megatron",
  modules_to_save: "whole modules beside the pairs",
  monteclora_config: "MonteCLoRA",
  target_parameters: "LoRA of parameters",
  trainable_token_indices: "trained tokens",
  use_bdlora: "BD-LoRA",
  use_dora: "DoRA",
  use_qalora: "QA-LoRA",
  velora_config: "VeLoRA",
};
/** Inits that leave the base's weights alone, so that the pair alone is the change. */
const PLAIN_INITS = new Set(["gaussian", "eva", "orthogonal", "mica"]);
/** Inits that take their first pair out of the base's weights: the saved pair belongs to another base than the published one. */
const CHANGING_INITS = /^(?:pissa(?:_niter_\d+)?|olora|corda|loftq|lora_ga)$/i;
/** A table of patterns may name every module of a model, not more. */
const MAX_PATTERNS = 10_000;
/** A second or two. Names, which tables of hundreds of modules are made of, take next to none, however they are written. */
const STEPS = 10_000_000;

/** What Python's `bool()` says no to. */
const isOff = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  value === false ||
  value === 0 ||
  value === "" ||
  (typeof value === "object" && Object.keys(value).length === 0);

/**
 * The JSON text of a config. Patterns that are numbers, such as "0" for `to_out.0`, are written in brackets, which mean the same, so that
 * they keep their place among the others: the first that matches counts.
 */
export function parseLoraConfig(text: string, fail: (rule: string, cause?: unknown) => Error): Record<string, unknown> {
  return parseJsonObject(text.replace(/"(\d+)"(?=\s*:)/g, '"(?:$1)"'), fail);
}

/**
 * Reads and checks a config.
 * @param label what errors call the adapter
 */
export function readLoraConfig(config: Fields, label: string): LoraConfig {
  const fail: Fail = (rule) => {
    throw new CogwheelError("lora", `${label}: ${rule}`);
  };
  checkFields(config, fail);
  const budget = { steps: STEPS };
  const r = config["r"] ?? 8;
  const alpha = config["lora_alpha"] === undefined ? 8 : config["lora_alpha"];
  checkRank("r", r, fail);
  checkAlpha("lora_alpha", alpha, fail);
  const ranks = readPatterns("rank_pattern", config["rank_pattern"], checkRank, budget, fail);
  const alphas = readPatterns("alpha_pattern", config["alpha_pattern"], checkAlpha, budget, fail);
  const leavesOut = readTargets(config, budget, fail);
  return {
    rslora: config["use_rslora"] === true,
    rank: (path) => ranks(path) ?? (r as number),
    alpha: (path) => alphas(path) ?? (alpha as number),
    leavesOut,
  };
}

const READ = new Set([
  "r",
  "lora_alpha",
  "use_rslora",
  "rank_pattern",
  "alpha_pattern",
  "target_modules",
  "exclude_modules",
  "layers_to_transform",
  "layers_pattern",
  "init_lora_weights",
  "peft_type",
  "bias",
]);

function checkFields(config: Fields, fail: Fail): void {
  const type = config["peft_type"];
  if (type !== undefined && type !== null && type !== "LORA")
    fail(`peft_type must be LORA, got ${brief(type)}; this method is not supported: ${MERGE}`);
  for (const [field, what] of Object.entries(MUST_BE_OFF)) {
    if (!isOff(config[field])) fail(`${field} must be off, got ${brief(config[field])}; ${what} is not supported: ${MERGE}`);
  }
  const bias = config["bias"];
  if (bias !== undefined && bias !== "none") fail(`bias must be "none", got ${brief(bias)}; trained biases are not supported: ${MERGE}`);
  const rslora = config["use_rslora"];
  if (rslora !== undefined && rslora !== null && typeof rslora !== "boolean")
    fail(`use_rslora must be true or false, got ${brief(rslora)}; correct the config`);
  checkInit(config["init_lora_weights"], fail);
  for (const [field, value] of Object.entries(config)) {
    if (READ.has(field) || WITHOUT_EFFECT.has(field) || Object.hasOwn(MUST_BE_OFF, field) || isOff(value)) continue;
    fail(
      `a config may hold the fields of PEFT's LoraConfig, got ${brief(field)}: ${brief(value)}; ` +
        `what it asks for would not be done: remove it if it has no effect, or ${MERGE}`,
    );
  }
}

function checkInit(init: unknown, fail: Fail): void {
  if (isOff(init) || init === true) return;
  if (typeof init === "string" && CHANGING_INITS.test(init)) {
    const remedy =
      init.toLowerCase() === "loftq"
        ? MERGE
        : "save the adapter again with PEFT's save_pretrained(…, path_initial_model_for_weight_conversion=…), " +
          "which makes a plain LoRA of it";
    fail(
      `init_lora_weights must leave the model's weights as they are, got ${brief(init)}; ` +
        `the first matrices were taken out of them: ${remedy}`,
    );
  }
  if (typeof init !== "string" || !PLAIN_INITS.has(init.toLowerCase()))
    fail(
      `init_lora_weights must be true, false or one of ${[...PLAIN_INITS].join(", ")}, got ${brief(init)}; ` +
        `if it leaves the model's weights as they are, write true, else ${MERGE}`,
    );
}

function checkRank(field: string, value: unknown, fail: Fail): void {
  if (!Number.isSafeInteger(value) || (value as number) < 1)
    fail(`${field} must be a whole number from 1, got ${brief(value)}; correct the config`);
}

function checkAlpha(field: string, value: unknown, fail: Fail): void {
  if (typeof value !== "number" || !Number.isFinite(value))
    fail(`${field} must be a finite number, got ${brief(value)}; correct the config`);
}

function compileRegex(field: string, shown: string, pattern: string, budget: MatchBudget, fail: Fail): PythonRegex {
  try {
    return new PythonRegex(pattern, budget);
  } catch (error) {
    if (error instanceof PythonRegexError)
      return fail(`${field} must hold regular expressions of Python, got ${brief(shown)}: ${error.message}; write the modules' names`);
    throw error;
  }
}

/** A match that stays within the steps of a file. */
function tried<T>(field: string, fail: Fail, match: () => T): T {
  try {
    return match();
  } catch (error) {
    if (error instanceof PythonRegexError)
      return fail(`${field} must hold patterns that can be tried quickly, got ones for which ${error.message}; write the modules' names`);
    throw error;
  }
}

const DOT = 46;

/** Does `(.*\.)?(pattern)$` match? Most patterns are names, which are compared as such. */
function patternMatcher(field: string, pattern: string, budget: MatchBudget, fail: Fail): (path: readonly number[]) => boolean {
  const names = tried(field, fail, () => namesOf(pattern, budget));
  if (names === undefined) {
    const regex = compileRegex(field, pattern, `(.*\\.)?(${pattern})$`, budget, fail);
    return (path) => tried(field, fail, () => regex.match(path, budget));
  }
  return (path) =>
    names.some(({ letters, fromStart }) => {
      const start = path.length - letters.length;
      return (
        start >= 0 && (start === 0 || (!fromStart && path[start - 1] === DOT)) && letters.every((letter, i) => letter(path[start + i]!))
      );
    });
}

/**
 * `get_pattern_key` of PEFT: the value of the first pattern, as the file has them, of
 * which `(.*\.)?(pattern)$` matches a module's name.
 */
function readPatterns(
  field: string,
  table: unknown,
  check: (field: string, value: unknown, fail: Fail) => void,
  budget: MatchBudget,
  fail: Fail,
): (path: string) => number | undefined {
  if (table === undefined || table === null) return () => undefined;
  if (typeof table !== "object" || Array.isArray(table))
    return fail(`${field} must be an object of patterns and numbers, got ${brief(table)}; correct the config`);
  const entries = Object.entries(table);
  if (entries.length > MAX_PATTERNS)
    fail(`${field} may hold ${MAX_PATTERNS} patterns, got ${entries.length}; no model has so many modules`);
  const patterns = entries.map(([name, value]) => {
    check(`${field} of ${brief(name)}`, value, fail);
    return { name, value: value as number, matches: patternMatcher(field, name, budget, fail) };
  });
  return (path) => {
    const text = codes(path);
    const first = patterns.find(({ matches }) => matches(text));
    // JavaScript moves names such as "0" to the front of an object, so that their place in a config that comes as an object is not known.
    const other =
      first &&
      isIndex(first.name) &&
      patterns.find(({ name, value, matches }) => value !== first.value && matches(text) && name !== first.name);
    if (other)
      fail(
        `${field} must say one value of a module, got ${brief(first.name)}: ${first.value} and ${brief(other.name)}: ` +
          `${other.value} for ${path}; write (?:${first.name}) for a number`,
      );
    return first?.value;
  };
}

const isIndex = (name: string): boolean => /^(?:0|[1-9]\d*)$/.test(name);

/** `check_target_module_exists` of PEFT, as the field that leaves a module out. */
function readTargets(config: Fields, budget: MatchBudget, fail: Fail): LoraConfig["leavesOut"] {
  const names = (field: string): { list?: readonly string[]; regex?: PythonRegex; text?: string } => {
    const value = config[field];
    if (value === undefined || value === null) return {};
    if (typeof value === "string") return { text: value, regex: compileRegex(field, value, value, budget, fail) };
    if (!Array.isArray(value) || !value.every((one) => typeof one === "string"))
      return fail(`${field} must be a list of names or a pattern, got ${brief(value)}; correct the config`);
    return { list: value as string[] };
  };
  const holds = (field: string, { list, regex }: ReturnType<typeof names>, path: string): boolean =>
    regex ? tried(field, fail, () => regex.fullmatch(path, budget)) : list!.some((name) => path === name || path.endsWith(`.${name}`));
  const target = names("target_modules");
  const exclude = names("exclude_modules");
  const inLayers = readLayers(config, budget, fail);
  return (path, isLinear) => {
    if ((exclude.text || exclude.list?.length) && holds("exclude_modules", exclude, path)) return "exclude_modules";
    if (target.text?.toLowerCase() === "all-linear") return isLinear ? undefined : "target_modules";
    if (target.list?.includes(path)) return undefined; // a whole name asks for no layer
    if ((target.list || target.regex) && !holds("target_modules", target, path)) return "target_modules";
    return inLayers(path) ? undefined : "layers_to_transform";
  };
}

/** `layers_to_transform`, and `layers_pattern` which says where the number stands. */
function readLayers(config: Fields, budget: MatchBudget, fail: Fail): (path: string) => boolean {
  const layers = config["layers_to_transform"];
  const list = typeof layers === "number" ? [layers] : layers;
  const patterns = config["layers_pattern"];
  const named = typeof patterns === "string" ? [patterns] : (patterns ?? []);
  if (!Array.isArray(named) || !named.every((one) => typeof one === "string"))
    return fail(`layers_pattern must be a name or a list of names, got ${brief(patterns)}; correct the config`);
  if (list === undefined || list === null || (Array.isArray(list) && list.length === 0)) return () => true;
  if (!Array.isArray(list) || !list.every(Number.isSafeInteger))
    return fail(`layers_to_transform must be a number or a list of numbers, got ${brief(layers)}; correct the config`);
  if (named.some((one: string) => one.includes("|")))
    fail(`layers_pattern must name one list of blocks, got ${brief(patterns)}; give a list of names in place of |`);
  const regexes = named
    .filter((one: string) => one !== "")
    .map((one: string) => compileRegex("layers_pattern", one, `(?:^|.*\\.)(?:${one})\\.`, budget, fail));
  return (path) => {
    const numbers = [...path.matchAll(/(?<=\.)\d+(?=\.)/g)];
    // Without a pattern the first number counts that has a list's name and one more before it.
    const found = regexes.length
      ? numbers.filter(({ index }) =>
          regexes.some((regex) => tried("layers_pattern", fail, () => regex.fullmatch(path.slice(0, index), budget))),
        )
      : [/^.*?\.[^.]*\.(?=\d+\.)/.exec(path)]
          .filter((hit) => hit !== null)
          .map((hit) => ({ 0: /^\d+/.exec(path.slice(hit[0].length))![0] }));
    if (new Set(found.map((hit) => hit[0])).size > 1)
      fail(
        "layers_pattern must find one number in a module's name, " +
          `got ${found.map((hit) => hit[0]).join(" and ")} in ${path}; name the list of blocks`,
      );
    return found.length > 0 && (list as number[]).includes(Number(found[0]![0]));
  };
}
