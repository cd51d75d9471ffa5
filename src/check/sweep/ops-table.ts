/**
 * docs/ops.md: from the name of an op to its kernels, its cases, its test and the published models that use it. All of it follows from the
 * files' names, the case lists and the recorded graphs of the published models; no GPU is needed.
 */
import { readFileSync, readdirSync } from "node:fs";
import { allKernels } from "#kernels";
import { allCases } from "#sweep-cases";
import { CogwheelError } from "../../base/errors.ts";
import { Graph } from "../../graph/graph.ts";
import { families } from "../../pipelines/families.ts";
import type { PublishedGraph } from "../../pipelines/family.ts";
import type { OpCases } from "./case.ts";
import { Draw } from "./draw.ts";

const HEAD = `# Ops

An op is a file in [src/ops/](../src/ops/); its case list and its test (in \`test/ops\` of a checkout) have the same name. The kernels
are those of the list, and the models are those whose recorded graphs hold the op: the name of a component alone stands for every published
model that has it. How an op is added is in [add an op](add-an-op.md). \`npm run docs:ops\` writes this page.

| op | what it does | kernels | cases | used by |
| --- | --- | --- | --- | --- |
`;

/** The text of docs/ops.md. @param root the folder of the project, with a slash at its end */
export function opsTable(root: URL): string {
  const users = usersOfOps();
  return (
    HEAD +
    readdirSync(new URL("src/ops/", root))
      .filter((file) => file.endsWith(".ts"))
      .map((file) => file.slice(0, -".ts".length))
      .map((name) => row(name, readFileSync(new URL(`src/ops/${name}.ts`, root), "utf8"), users))
      .join("")
  );
}

function row(name: string, source: string, users: ReadonlyMap<string, Users>): string {
  const list = allCases.find(({ op }) => op === name);
  if (!list) throw new CogwheelError("docs", `an op must have a case list, got none in src/check/sweep/cases/${name}.ts; write it`);
  // What a file does with the ops of others, as group_norm, has no record of its own.
  const records = source.matchAll(/^export const \w+Op\b(?: = \w+\("(\w+)"|[^]*?\n {2}name: "(\w+)")/gm);
  const own = [...records].map(([, made, written]) => (made ?? written)!);
  const ops = own.length ? own : recordedOps(list);
  const kernels = [...new Set(list.kernels.map(({ kernel }) => kernel.name))].map((kernel) => {
    const { family } = allKernels.find((one) => one.name === kernel)!;
    return `[${kernel}](../kernels/${family}/${kernel}.wgsl)`;
  });
  const title = `[${name}](../src/ops/${name}.ts)${own.join() === name || !own.length ? "" : ` (${own.join(", ")})`}`;
  const links = `[cases](../src/check/sweep/cases/${name}.ts)`;
  const cells = [title, summary(name, source), kernels.join(", "), links, usedBy(ops, users)];
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |\n`;
}

/** The first sentence of a file's header, without the names before it. */
function summary(name: string, source: string): string {
  const header = /^\/\*\*([^]*?)\*\//.exec(source)?.[1];
  if (header === undefined) throw new CogwheelError("docs", `src/ops/${name}.ts must begin with a header, got none; say what the op does`);
  const text = header.replace(/\s*\n \*/g, "").trim();
  return /^(.*?)(?:\.(?: |$)|$)/.exec(text.replace(/^[a-z\d_]+((, | and )[a-z\d_]+)*: /, ""))![1]!;
}

function recordedOps({ cases }: OpCases): string[] {
  const names = cases.flatMap((c) => {
    const graph = new Graph(c.name);
    c.record(new Draw(graph, "f32", c.half));
    return graph.nodes.map(({ op }) => op.name);
  });
  return [...new Set(names)];
}

/** By component of a checkpoint, the published models whose component has the op. */
type Users = Map<string, Set<string>>;

/** By op. */
function usersOfOps(): Map<string, Users> {
  const users = new Map<string, Users>();
  for (const { component, models, graph } of publishedGraphs())
    for (const { op } of graph.nodes) {
      const of: Users = users.get(op.name) ?? new Map();
      users.set(op.name, of.set(component, new Set([...(of.get(component) ?? []), ...models])));
    }
  return users;
}

function* publishedGraphs(): Generator<PublishedGraph> {
  for (const { published } of families) yield* published("f32", { type: () => "f32" });
}

/** Components by name, each with its models where those are not all that have it. */
function usedBy(ops: readonly string[], users: ReadonlyMap<string, Users>): string {
  const all: Users = new Map();
  for (const of of users.values()) for (const [part, models] of of) all.set(part, new Set([...(all.get(part) ?? []), ...models]));
  const cells = [...all].map(([part, everyModel]) => {
    const models = [...everyModel].filter((model) => ops.some((op) => users.get(op)?.get(part)?.has(model)));
    return models.length === 0 ? "" : models.length === everyModel.size ? part : `${part} of ${models.join(", ")}`;
  });
  return cells.filter(Boolean).join("; ") || "none";
}
