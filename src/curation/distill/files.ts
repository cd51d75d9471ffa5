/**
 * Pairs as trainers of language models read them: `messages` (OpenAI's fine-tuning, axolotl, LLaMA-Factory by its dataset_info.json), and
 * `prompt` with `completion` (TRL, which then learns from the completion alone). Each is read back before it is called done.
 */
import { isObject } from "../../base/json-scan.ts";
import type { SplitPairs, TeacherPair } from "./pairs.ts";

/** Files by name. */
export type DistillFiles = Readonly<Record<string, string>>;

const message = (role: "system" | "user" | "assistant", content: string) => ({ role, content });
const lines = (list: readonly object[]): string => list.map((one) => `${JSON.stringify(one)}\n`).join("");

const chatLine = ({ system, user, answer }: TeacherPair) => ({
  messages: [message("system", system), message("user", user), message("assistant", answer)],
});
const trlLine = ({ system, user, answer }: TeacherPair) => ({
  prompt: [message("system", system), message("user", user)],
  completion: [message("assistant", answer)],
});

/** LLaMA-Factory's entry of a file. */
const entry = (file: string) => ({
  file_name: file,
  formatting: "sharegpt",
  columns: { messages: "messages" },
  tags: { role_tag: "role", content_tag: "content", user_tag: "user", assistant_tag: "assistant", system_tag: "system" },
});

/** @param base the model to be tuned, for configs that name it */
export function distillFiles({ train, validation }: SplitPairs, base: string): DistillFiles {
  const info = { captions_train: entry("train.jsonl"), captions_validation: entry("validation.jsonl") };
  return {
    "train.jsonl": lines(train.map(chatLine)),
    "validation.jsonl": lines(validation.map(chatLine)),
    "trl-train.jsonl": lines(train.map(trlLine)),
    "trl-validation.jsonl": lines(validation.map(trlLine)),
    "dataset_info.json": `${JSON.stringify(info, null, 2)}\n`,
    "axolotl.yml": axolotl(base),
    "clips.json": `${JSON.stringify({ train: ids(train), validation: ids(validation) }, null, 1)}\n`,
  };
}

const ids = (pairs: readonly TeacherPair[]) => pairs.map(({ id, source }) => ({ id, source }));

/** LoRA of rank 64, one epoch: as Open-Sora-Plan tuned its 8B model on 32,000 such pairs in half an hour of one H100. */
const axolotl = (base: string): string => `base_model: ${JSON.stringify(base)}
datasets:
  - path: train.jsonl
    ds_type: json
    type: chat_template
    field_messages: messages
test_datasets:
  - path: validation.jsonl
    ds_type: json
    type: chat_template
    field_messages: messages
    split: train
adapter: lora
lora_r: 64
lora_alpha: 64
lora_target_linear: true
sequence_len: 4096
micro_batch_size: 4
gradient_accumulation_steps: 8
num_epochs: 1
learning_rate: 0.0001
optimizer: adamw_torch
lr_scheduler: cosine
train_on_inputs: false
bf16: auto
output_dir: ./student
`;

/** OpenAI takes no set of fewer. */
const LEAST = 10;

/** What readers would refuse in these files; empty where all is well. */
export function checkDistillFiles(files: DistillFiles): string[] {
  const wrong: string[] = [];
  const parsed = (name: string): unknown[] =>
    (files[name] ?? "")
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line) as unknown);
  for (const name of ["train.jsonl", "validation.jsonl"])
    for (const [i, line] of parsed(name).entries()) {
      const messages = isObject(line) ? line["messages"] : undefined;
      if (rolesOf(messages) !== "system,user,assistant") wrong.push(`${name}:${i + 1} is not system, user, assistant`);
    }
  for (const name of ["trl-train.jsonl", "trl-validation.jsonl"])
    for (const [i, line] of parsed(name).entries()) {
      const { prompt, completion } = isObject(line) ? line : {};
      if (rolesOf(prompt) !== "system,user" || rolesOf(completion) !== "assistant")
        wrong.push(`${name}:${i + 1} is no prompt with its completion`);
    }
  const count = parsed("train.jsonl").length;
  if (count !== parsed("trl-train.jsonl").length) wrong.push("TRL has another number of pairs");
  if (count < LEAST) wrong.push(`${count} pairs to learn from: OpenAI wants ${LEAST}, and a model thousands`);
  const info: unknown = JSON.parse(files["dataset_info.json"]!);
  for (const one of Object.values(info as Record<string, { file_name: string }>))
    if (!Object.hasOwn(files, one.file_name)) wrong.push(`dataset_info.json names ${one.file_name}, which is not there`);
  const { train, validation } = JSON.parse(files["clips.json"]!) as Record<"train" | "validation", { source: string }[]>;
  const held = new Set(validation.map(({ source }) => source));
  for (const { source } of train) if (held.has(source)) wrong.push(`source ${source} is on both sides`);
  return wrong;
}

/** Roles in their order, where each message says something. */
function rolesOf(messages: unknown): string | undefined {
  if (!Array.isArray(messages)) return undefined;
  const roles = messages.map((one: unknown) =>
    isObject(one) && typeof one["content"] === "string" && one["content"].trim() !== "" ? String(one["role"]) : "?",
  );
  return roles.join();
}
