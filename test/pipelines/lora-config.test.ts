/** PEFT's config of an adapter: what it says of ranks, factors and modules. */
import { describe, expect, it } from "vitest";
import { readLoraConfig } from "../../src/models/lora/config.ts";
import { changesOf, pairs } from "../support/lora.ts";

describe("PEFT's config", () => {
  const tensors = pairs(
    { "transformer_blocks.0.attn1.to_q": [32, 32], "transformer_blocks.0.attn1.to_out.0": [32, 32], proj_out: [16, 32] },
    4,
    60,
    (m, p) => `base_model.model.${m}.lora_${p}.weight`,
  );
  const factors = (config: Record<string, unknown>) =>
    Object.fromEntries(
      changesOf(tensors, { r: 4, lora_alpha: 4, ...config }).map(([name, list]) => [
        (name as string).replace(/\.weight$/, ""),
        2 * (list as { factor: number }[])[0]!.factor,
      ]),
    );
  const want = (q: number, out: number, proj: number) => ({
    "transformer_blocks.0.attn1.to_q": q,
    "transformer_blocks.0.attn1.to_out.0": out,
    proj_out: proj,
  });

  it.for<[string, Record<string, number>, ReturnType<typeof want>]>([
    ["the end of a name", { to_q: 8 }, want(2, 1, 1)],
    ["no part of a word", { o_q: 8, out: 8 }, want(1, 1, 1)],
    ["alternatives", { "to_q|to_k": 8 }, want(2, 1, 1)],
    ["classes and escapes", { "transformer_blocks\\.[0-2]\\.attn1\\.to_[qk]": 8 }, want(2, 1, 1)],
    ["anchored", { "^transformer_blocks.0.attn1.to_q": 8, "^attn1.to_out.0": 8 }, want(2, 1, 1)],
    ["the first that matches", { "attn1\\..*": 8, to_q: 16, ".*": 2 }, want(2, 2, 0.5)],
    ["a negative alpha, and 0", { to_q: -8, proj_out: 0 }, want(-2, 1, 0)],
    ["Python's own syntax", { "(?P<part>to_q)\\Z": 8, "(?i:PROJ)_out": 12, "(?<=to_)out\\.\\d{,2}": 2 }, want(2, 1, 3)],
    ["what leaves PEFT's brackets", { "zz)|(proj_out": 8 }, want(1, 1, 2)],
  ])("alpha_pattern: %s", ([, alpha_pattern, expected]) => {
    expect(factors({ alpha_pattern })).toEqual(expected);
  });

  it("what leaves the brackets again needs no end: PEFT's match is not of the whole name", () => {
    expect(factors({ alpha_pattern: { "transformer_blocks)|(x": 8 } })).toEqual(want(2, 2, 1));
  });

  it("a rank that is not the file's, also by PEFT's default or a pattern, is refused", () => {
    expect(() => factors({ r: undefined })).toThrow(
      /r and rank_pattern of the config must be the rank of the matrices, got 8 for .*\[4, 32\]/,
    );
    expect(() => factors({ rank_pattern: { to_q: 2 } })).toThrow(/got 2 for base_model\.model\.transformer_blocks\.0\.attn1\.to_q/);
    expect(factors({ r: 2, rank_pattern: { "to_.*": 4, proj_out: 4 } })).toEqual(want(1, 1, 1));
  });

  it.for([
    ["plain", "", ""],
    ["escaped", "\\", ""],
    ["anchored", "", "^$"],
    ["escaped and anchored", "\\", "^$"],
    ["in brackets", "\\", "()"],
    ["beside others", "\\", "(|zz)"],
  ] as const)("a table of all modules, %s", ([, dot, [before = "", after = "", ...more]]) => {
    const modules = Array.from(
      { length: 252 },
      (_, i) => `transformer_blocks.${i >> 2}.attn1.${["to_q", "to_k", "to_v", "to_out.0"][i % 4]}`,
    );
    const table = Object.fromEntries(modules.map((name, i) => [before + name.replaceAll(".", `${dot}.`) + after + more.join(""), i + 1]));
    const config = readLoraConfig({ rank_pattern: table, alpha_pattern: table }, "an adapter");
    for (const [i, name] of modules.entries())
      expect([config.rank(name), config.alpha(name), config.rank(`x.${name}.y`)]).toEqual([i + 1, i + 1, 8]);
  });

  it("a pattern that would make a backtracking matcher try for years", () => {
    const start = performance.now();
    expect(
      factors({ alpha_pattern: { "((([a-z_.0-9]*)*)*)*!": 8, [`${"(a?".repeat(40)}${")".repeat(40)}${"a".repeat(40)}`]: 8 } }),
    ).toEqual(want(1, 1, 1));
    expect(performance.now() - start).toBeLessThan(2000);
    expect(() => factors({ alpha_pattern: { "(((a{1000}){1000}){1000})": 8 } })).toThrow(
      /alpha_pattern must hold regular expressions of Python, got .*: its repeats unfold to more than 20000 steps/,
    );
    expect(() =>
      factors({ alpha_pattern: Object.fromEntries(Array.from({ length: 9000 }, (_, i) => [`(${".*".repeat(400)})*${i}!`, 8])) }),
    ).toThrow(/all patterns together take too long/);
  });

  it.for<[string, Record<string, unknown>, RegExp]>([
    [
      "loftq",
      { init_lora_weights: "loftq" },
      /init_lora_weights must leave the model's weights as they are, got "loftq"; .*: merge it into the model with PEFT/,
    ],
    ...["pissa", "pissa_niter_16", "olora", "OLORA", "corda", "lora_ga"].map((init): [string, Record<string, unknown>, RegExp] => [
      init,
      { init_lora_weights: init },
      new RegExp(`init_lora_weights must leave the model's weights as they are, got "${init}"; .*path_initial_model_for_weight_conversion`),
    ]),
    ["an init of tomorrow", { init_lora_weights: "zen" }, /init_lora_weights must be true, false or one of gaussian, .*, got "zen"/],
    ["DoRA", { use_dora: true }, /use_dora must be off, got true; DoRA is not supported: merge it/],
    ["a bias beside the matrices", { lora_bias: true }, /lora_bias must be off/],
    ["biases", { bias: "lora_only" }, /bias must be "none", got "lora_only"/],
    ["whole modules", { modules_to_save: ["proj_out"] }, /modules_to_save must be off, got \["proj_out"\]/],
    ["tokens", { trainable_token_indices: [1, 2] }, /trainable_token_indices must be off/],
    [
      "replicated layers",
      {
        layer_replication: [
          [0, 1],
          [0, 1],
        ],
      },
      /layer_replication must be off/,
    ],
    ["another method", { peft_type: "LOHA" }, /peft_type must be LORA, got "LOHA"/],
    [
      "a field of tomorrow",
      { use_wizardry: true },
      /fields of PEFT's LoraConfig, got "use_wizardry": true; what it asks for would not be done/,
    ],
    ["no rank", { r: 0 }, /r must be a whole number from 1, got 0/],
    ["a rank that is no number", { r: "4" }, /r must be a whole number from 1, got "4"/],
    ["no alpha", { lora_alpha: null }, /lora_alpha must be a finite number, got null/],
    ["a pattern's value", { alpha_pattern: { to_q: "8" } }, /alpha_pattern of "to_q" must be a finite number, got "8"/],
    [
      "a pattern that Python refuses",
      { alpha_pattern: { "to_(q": 8 } },
      /alpha_pattern must hold regular expressions of Python, got "to_\(q": a group is not closed/,
    ],
    ["a pattern that no automaton matches", { alpha_pattern: { "(to)_\\1": 8 } }, /the backreference \\1 is not supported/],
    [
      "numbers for names, whose order is lost",
      { alpha_pattern: { "attn1.to_out.0": 8, "0": 4 } },
      /alpha_pattern must say one value of a module, got "0": 4 and "attn1\.to_out\.0": 8 for .*; write \(\?:0\) for a number/,
    ],
    [
      "modules that PEFT would not load",
      { target_modules: ["to_q"] },
      /the config's target_modules must name what the file holds, got .*to_out\.0\.lora_A\.weight, which PEFT would not load/,
    ],
    ["the same by a pattern", { target_modules: ".*\\.to_q" }, /the config's target_modules must name/],
    ["excluded modules", { exclude_modules: ["proj_out"] }, /the config's exclude_modules must name/],
    [
      "other layers",
      { target_modules: ["to_q", "to_out.0", "proj_out"], layers_to_transform: [1], layers_pattern: "transformer_blocks" },
      /the config's layers_to_transform must name/,
    ],
  ])("refuses %s", ([, config, message]) => {
    expect(() => factors(config)).toThrow(message);
  });

  it("fields that are off, of no effect, or of PEFT's own file, are read", () => {
    const saved = {
      alora_invocation_tokens: null,
      arrow_config: null,
      auto_mapping: { base_model_class: "X" },
      base_model_name_or_path: "x",
      bias: "none",
      corda_config: null,
      ensure_weight_tying: false,
      eva_config: null,
      exclude_modules: null,
      fan_in_fan_out: false,
      inference_mode: true,
      init_lora_weights: "gaussian",
      kasa_config: null,
      layer_replication: null,
      layers_pattern: null,
      layers_to_transform: null,
      loftq_config: {},
      lora_bias: false,
      lora_dropout: 0.1,
      lora_ga_config: null,
      megatron_config: null,
      megatron_core: "megatron.core",
      modules_to_save: null,
      monteclora_config: null,
      peft_type: "LORA",
      peft_version: "0.21.2",
      qalora_group_size: 16,
      rank_pattern: {},
      revision: null,
      target_modules: ["to_q", "to_out.0", "proj_out"],
      target_parameters: null,
      task_type: null,
      trainable_token_indices: null,
      use_bdlora: null,
      use_dora: false,
      use_qalora: false,
      use_rslora: false,
      velora_config: null,
      a_switch_of_tomorrow: false,
    };
    expect(factors({ ...saved, target_modules: ".*(to_q|to_out\\.0|proj_out)" })).toEqual(want(1, 1, 1));
    expect(factors({ ...saved, target_modules: "all-linear" })).toEqual(want(1, 1, 1));
    expect(factors(saved)).toEqual(want(1, 1, 1));
  });

  it("an alpha in the file that contradicts the config is refused", () => {
    const both = (alpha: number) =>
      changesOf(new Map([...tensors, ["base_model.model.proj_out.alpha", { shape: [], data: Float32Array.of(alpha) }]]), {
        r: 4,
        lora_alpha: 4,
      });
    expect(() => both(2)).toThrow(/proj_out\.alpha and the config's lora_alpha must be equal, got 2 and 4/);
    expect(both(4).length).toBe(3);
  });
});
