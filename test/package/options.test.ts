/** docs/options.md is what the table of options says. After a change of the table: `npx vitest run test/package/options.test.ts -u` */
import { expect, it } from "vitest";
import { choiceText, FALLING, rangeText } from "../../src/pipelines/options/check.ts";
import { TASKS } from "../../src/models/cogvideox/task.ts";
import type { Option, ValueRule } from "../../src/pipelines/options/option.ts";
import { optionOf, REQUESTS, RUNNING, SETTINGS, type OptionName } from "../../src/pipelines/options/table.ts";

const KINDS: Partial<Record<ValueRule<unknown>["kind"], string>> = {
  text: "a text",
  numbers: FALLING,
  switch: "yes or no",
  frame: "a frame",
  frames: "frames",
  adapters: "adapters with scales",
  given: "see its type",
};

function takes({ values, advice }: Option<unknown>): string {
  if (values.kind === "choice") return choiceText(values);
  if (values.kind !== "number" && values.kind !== "bytes") return KINDS[values.kind]!;
  const ranged = Object.keys(values).length > 1;
  return advice !== undefined && !ranged ? "any that the model can make" : rangeText(values);
}

const standard = ({ otherwise, fallback, advice, values }: Option<unknown>): string =>
  otherwise ??
  (fallback !== undefined ? String(fallback) : advice !== undefined ? "the checkpoint's advice" : values.kind === "switch" ? "no" : "");

const SAVED = { taken: "kept", fixed: "kept, fixed", named: "must be the same" };

/** A row an option; those that share a flag share it. */
function rows(table: object): string[] {
  const names = Object.keys(table) as OptionName[];
  const first = (name: OptionName): OptionName =>
    names.find((other) => other === name || (optionOf(name).flag && optionOf(other).flag === optionOf(name).flag))!;
  return names
    .filter((name) => first(name) === name)
    .map((name) => {
      const option = optionOf(name);
      const sharing = names.filter((other) => first(other) === name);
      const flag = option.flag === undefined ? "" : `\`${option.flag.replaceAll("|", "\\|")}\``;
      const tasks = option.tasks && option.tasks.length < TASKS.length - 1 ? ` (${option.tasks.join(", ")})` : "";
      const cells = [
        sharing.map((one) => `\`${one}\``).join(", "),
        flag,
        takes(option),
        standard(option),
        option.saved ? SAVED[option.saved] : "",
        `${option.help}${tasks}`,
      ];
      return `| ${cells.join(" | ")} |`;
    });
}

const section = (title: string, words: string, table: object): string =>
  `## ${title}\n\n${words}\n\n| option | flag | takes | default | saved latents | what it is ` +
  `for |\n| --- | --- | --- | --- | --- | --- |\n${rows(table).join("\n")}\n`;

it("docs/options.md lists every option", async () => {
  const page = [
    "# The options of a generation\n",
    "Generated from [the table](../src/pipelines/options/table.ts) by `npx vitest run test/package/options.test.ts -u`;",
    "a test checks that it is up to date. In code `generate` takes an option by its name; the command `generate` takes it by its flag.",
    "An argument called `file` is a path to a file with the value. A run that continues from saved latents keeps the options marked",
    "`kept`, unless you give others. Those marked `fixed` cannot change once a step was made.\n",
    section("Settings", "The default is the checkpoint's own advice (its `generation.json`), else the published one.", SETTINGS),
    section("What to make", "Brackets hold the tasks that an option is for.", REQUESTS),
    section("How it is run", "Functions and objects are for apps; their types carry the details.", RUNNING),
    "## Another option\n",
    "Add an entry to the table, the line that uses it (`run.options.…` in",
    "[src/pipelines/cogvideox/](../src/pipelines/cogvideox/running.ts)), and a test. The entry provides its type and doc comment, the",
    "check of its value, its flag and help, its handling in saved latents, its control in the page, and this file.\n",
  ].join("\n");
  await expect(page).toMatchFileSnapshot("../../docs/options.md");
});
