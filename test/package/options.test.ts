/** docs/options.md is what the table of options says. After a change of the table: `npx vitest run test/package/options.test.ts -u` */
import { expect, it } from "vitest";
import { choiceText, rangeText } from "../../src/pipelines/options/check.ts";
import { TASKS } from "../../src/models/cogvideox/task.ts";
import type { Option, ValueRule } from "../../src/pipelines/options/option.ts";
import { optionOf, REQUESTS, RUNNING, SETTINGS, type OptionName } from "../../src/pipelines/options/table.ts";

const KINDS: Partial<Record<ValueRule<unknown>["kind"], string>> = {
  text: "a text",
  switch: "yes or no",
  frame: "a frame",
  frames: "frames",
  adapters: "adapters with scales",
  given: "see its type",
};

function takes({ values, advice }: Option<unknown>): string {
  if (values.kind === "choice") return choiceText(values);
  if (values.kind !== "number") return KINDS[values.kind]!;
  const ranged = Object.keys(values).length > 1;
  return advice !== undefined && !ranged ? "what the model can" : rangeText(values);
}

const leftOut = ({ otherwise, fallback, advice, values }: Option<unknown>): string =>
  otherwise ??
  (fallback !== undefined ? String(fallback) : advice !== undefined ? "the checkpoint's advice" : values.kind === "switch" ? "no" : "");

const SAVED = { taken: "taken up", fixed: "taken up, fixed", named: "must be the same" };

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
        leftOut(option),
        option.saved ? SAVED[option.saved] : "",
        `${option.help}${tasks}`,
      ];
      return `| ${cells.join(" | ")} |`;
    });
}

const section = (title: string, words: string, table: object): string =>
  `## ${title}\n\n${words}\n\n| option | flag | takes | left out | saved latents | what it is ` +
  `for |\n| --- | --- | --- | --- | --- | --- |\n${rows(table).join("\n")}\n`;

it("docs/options.md tells every option", async () => {
  const page = [
    "# The options of a generation\n",
    "Made from [the table](../src/pipelines/options/table.ts) by `npx vitest run test/package/options.test.ts -u`; " +
      "a test checks that it is up to date.",
    "`generate` of a model takes an option by its name, the command `generate` by its flag; " +
      "an argument called `file` is a path to what the option takes.",
    "A run that goes on from saved latents takes up what the first run was told, unless it is told otherwise; " +
      "what is fixed cannot change once steps were made.\n",
    section("Settings", "What is left out is the checkpoint's own advice (its `generation.json`), then the published one.", SETTINGS),
    section("What to make", "In brackets the tasks that an option is for.", REQUESTS),
    section("How it is run", "Functions and objects are for apps; their types carry the details.", RUNNING),
    "## Another option\n",
    "It is an entry of the table, the line that uses it " +
      "(`run.options.…` in [src/pipelines/cogvideox/](../src/pipelines/cogvideox/running.ts)), and its test. From the",
    "entry follow its type and the doc of it, the check of its value, flag and help, " +
      "what saved latents keep and give back, its control in the page, and this file.\n",
  ].join("\n");
  await expect(page).toMatchFileSnapshot("../../docs/options.md");
});
