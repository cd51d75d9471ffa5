/** The tables of docs/memory.md: what every published checkpoint takes, and how it keeps within the memory of GPUs that people have. */
import { bytesText } from "../../base/units.ts";
import { createScheduler } from "../../diffusion/scheduler.ts";
import type { Capabilities } from "../../gpu/capabilities.ts";
import { frameBatches, LATENT_BATCH } from "../../models/vae/batches.ts";
import type { Plan } from "../../plan/compile.ts";
import { switchesOf } from "../profiles.ts";
import { defaultSettings, type Settings } from "../settings.ts";
import { components, expectedWeights, parseConfigs, type Configs } from "./components.ts";
import { rulesOf } from "./configs.ts";
import { publishedModels, type PublishedName } from "./published-models.ts";
import { denoiseShape, stageSizes } from "./sizes.ts";
import { stagesOf, type PlannedModel, type PlannedStage, type Stages } from "./stages.ts";

/** A GPU with the limits that most have: bindings of 2 GiB, buffers of 4 GiB, f16. */
const GPU: Capabilities = {
  kind: "hardware",
  vendor: "",
  architecture: "",
  description: "",
  f16: true,
  subgroups: { min: 32, max: 32 },
  subgroupMatrices: [],
  timestamps: true,
  dotI8: true,
  immediates: true,
  maxBindingBytes: 2 ** 31 - 4,
  maxBufferBytes: 2 ** 32 - 4,
  maxWorkgroupInvocations: 1024,
  maxWorkgroupBytes: 32768,
  maxStorageBuffers: 10,
  maxGrid: 65535,
  offsetAlignment: 256,
};

const LIMITS = [4e9, 6e9, 8e9, 12e9, 16e9, 24e9];

/** A published model at a size. */
export interface Case {
  readonly name: PublishedName;
  readonly settings: Partial<Settings>;
}

/** At the size that it was trained at, and at half of it in both directions, which learned positions do not allow. */
export const CASES: readonly Case[] = [
  ...(Object.keys(publishedModels) as PublishedName[]).flatMap((name): Case[] => {
    const own = { name, settings: {} };
    if (name === "cogvideox-5b-i2v") return [own];
    return [own, { name, settings: name.includes("1.5") ? { width: 672, height: 384 } : { width: 352, height: 240 } }];
  }),
  { name: "cogvideox-1.5-5b", settings: { frames: 161 } },
];

function open({ name, settings: asked }: Case): { model: PlannedModel; settings: Settings; conditionChannels: number } {
  const { className, configs: published } = publishedModels[name];
  const configs: Configs = parseConfigs((part) => published[part]);
  const { kind } = createScheduler(published.scheduler, published.scheduler._class_name);
  const rules = rulesOf(configs, className, kind);
  const shapes = expectedWeights(configs, Object.keys(published).filter((part) => part in components && part !== "scheduler") as never);
  return {
    model: { configs, rules, dtype: "f16", files: { shape: (part, weight) => shapes.get(part)?.get(weight), format: () => "f16" } },
    settings: { ...defaultSettings(rules), ...asked },
    conditionChannels: configs.transformer.in_channels - configs.vae.latent_channels,
  };
}

/** Plans of a published model within limits. */
export class PublishedPlans {
  readonly #opened;
  readonly #memo = new Map<string, Plan>();

  constructor(readonly of: Case) {
    this.#opened = open(of);
  }

  within(limit?: number): Stages {
    const { model, settings, conditionChannels } = this.#opened;
    const shape = denoiseShape(model, settings, 1, switchesOf(undefined));
    const sizes = stageSizes(model, settings, shape, conditionChannels ? "image" : "text");
    return stagesOf(model, sizes, undefined, { caps: GPU, limit, memo: this.#memo });
  }

  get settings(): Settings {
    return this.#opened.settings;
  }

  get title(): string {
    const { width, height, frames } = this.settings;
    return `${publishedModels[this.of.name].title}, ${width}×${height}, ${frames} frames`;
  }

  /** TFLOP of all steps, and of the decoder, whose second program runs for all batches of frames but the first. */
  work(): { step: number; decode: number } {
    const { stages } = this.within();
    const latents = Math.ceil(this.settings.frames / 4);
    const { flops } = stageOf(stages, "decoder").memory;
    const batches = frameBatches(latents, LATENT_BATCH);
    // A batch of two latent frames costs two thirds of one of three.
    const share = batches.length > 1 ? batches.reduce((n, b) => n + b.frames, 0) / (batches[0]!.frames + LATENT_BATCH) : 1;
    return { step: stageOf(stages, "transformer").memory.flops / 1e12, decode: (flops * share) / 1e12 };
  }
}

const stageOf = (stages: readonly PlannedStage[], name: PlannedStage["stage"]): PlannedStage => stages.find(({ stage }) => stage === name)!;

/** How a generation keeps within a limit: layers of the text encoder and of the transformer that stay, and what is read in a step. */
function cell({ stages }: Stages, limit: number): string {
  if (stages.some(({ memory }) => memory.peak > limit)) return "–";
  const [text, transformer] = [stageOf(stages, "text encoder").memory, stageOf(stages, "transformer").memory];
  const layers = ({ streamed, residence }: typeof text): string => (streamed ? `${residence!.resident}/${residence!.layers}` : "all");
  const read = transformer.streamed ? `, ${bytesText(transformer.streamed, 1)} a step` : "";
  return `${layers(text)}, ${layers(transformer)}${read}${transformer.apart ? ", apart" : ""}`;
}

/** A row of the table of limits. */
export function limitRow(plans: PublishedPlans): string {
  const { stages } = plans.within();
  const least = Math.max(...stages.map(({ least }) => least()));
  const all = Math.max(...stages.map(({ memory }) => memory.peak));
  // At the least the decoder works part by part.
  const host = Math.max(...plans.within(least).stages.map(({ memory }) => memory.host));
  const cells = [
    plans.title,
    bytesText(all, 1),
    bytesText(least, 1),
    host ? bytesText(host, 1) : "none",
    ...LIMITS.map((limit) => cell(plans.within(limit), limit)),
  ];
  return `| ${cells.join(" | ")} |`;
}

const limitTable = (cases: readonly PublishedPlans[]): string =>
  [
    `| model | all at once | least | host at the least | ${LIMITS.map((limit) => bytesText(limit).replace(".0", "")).join(" | ")} |`,
    `| --- | --- | --- | --- | ${LIMITS.map(() => "---").join(" | ")} |`,
    ...cases.map(limitRow),
  ].join("\n");

const RATES = [5, 10, 20, 40];

/** Hours and minutes, or minutes and seconds. */
function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole >= 3600) return `${Math.floor(whole / 3600)} h ${Math.round((whole % 3600) / 60)} min`;
  return whole >= 120 ? `${Math.round(whole / 60)} min` : `${whole} s`;
}

/** What a row's work takes at each rate, and how fast weights must be read not to be waited for, within the least memory. */
function workRow(plans: PublishedPlans): string {
  const { step, decode } = plans.work();
  const { steps } = plans.settings;
  const least = Math.max(...plans.within().stages.map(({ least }) => least()));
  const { streamed } = stageOf(plans.within(least).stages, "transformer").memory;
  const cells = RATES.map((rate) => {
    const supply = streamed / (step / rate);
    return `${duration((steps * step) / rate)} + ${duration(decode / rate)}${streamed ? `, ${(supply / 1e9).toFixed(2)} GB/s` : ""}`;
  });
  return `| ${[plans.title, `${step.toFixed(0)} + ${decode.toFixed(0)} TFLOP`, ...cells].join(" | ")} |`;
}

const workTable = (cases: readonly PublishedPlans[]): string =>
  [
    `| model | a step + the decoder | ${RATES.map((rate) => `${rate} TFLOP/s`).join(" | ")} |`,
    `| --- | --- | ${RATES.map(() => "---").join(" | ")} |`,
    ...cases.map(workRow),
  ].join("\n");

/** Both tables. */
export function allTables(): { limits: string; work: string } {
  const cases = CASES.map((of) => new PublishedPlans(of));
  return { limits: limitTable(cases), work: workTable(cases) };
}

/** A page with its tables replaced, each of which stands between two marks. */
export function withTables(page: string, tables: Readonly<Record<string, string>>): string {
  return Object.entries(tables).reduce(
    (text, [name, table]) =>
      text.replace(
        new RegExp(`(<!-- ${name} -->\\n)[^]*?(<!-- /${name} -->)`),
        (_, before: string, after: string) => `${before}${table}\n${after}`,
      ),
    page,
  );
}
