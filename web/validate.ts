/** Whether this GPU computes right: the reference cases that come with the page, by one button, and any that are dropped. */
import type { CaseResult } from "../src/index.ts";
import { WorkerError, type Client } from "./client.ts";
import { byId, fillTable, type Cell } from "./dom.ts";
import type { ToWorker } from "./protocol.ts";
import type { CaseNews, ValidationSummary } from "./validate-worker.ts";
import type { Tell } from "./trouble.ts";

const figure = (v: number | null): string => (v === null || Number.isNaN(v) ? "–" : v === 0 ? "0" : v.toExponential(2));
const HEAD = ["Case", "Module", "Output", "Relative L2", "Largest error", "Verdict"];

/** @returns what takes dropped files */
export function validatePanel(client: Client, tell: Tell): (data: DataTransfer) => void {
  const [doing, verdict, all] = [byId("cases-doing"), byId("check-verdict"), byId<HTMLDetailsElement>("cases-all")];
  const [start, cancel] = [byId<HTMLButtonElement>("check-start"), byId<HTMLButtonElement>("check-cancel")];
  const table = byId<HTMLTableElement>("cases-table");

  async function run(what: Extract<ToWorker, { type: "check" | "validate" }>, judge: (summary: ValidationSummary) => void): Promise<void> {
    tell(null);
    const rows: Cell[][] = [];
    let done = 0;
    verdict.hidden = true;
    all.hidden = true;
    start.hidden = true;
    cancel.hidden = false;
    doing.textContent = "Beginning …";
    try {
      const summary = await client.ask<ValidationSummary>(what, (news) => {
        if (news.type !== "row") return;
        const { result, of } = news.row as CaseNews;
        rows.push(...rowsOf(result));
        doing.textContent = `${++done} of ${of} cases …`;
        fillTable(table, HEAD, rows);
        all.hidden = false;
      });
      doing.textContent = "";
      judge(summary);
    } catch (error) {
      const stopped = error instanceof WorkerError && error.cancelled;
      doing.textContent = stopped ? "Stopped." : "";
      if (!stopped) tell((error as Error).message);
    } finally {
      start.hidden = false;
      cancel.hidden = true;
    }
  }

  start.addEventListener("click", () =>
    run({ type: "check" }, (summary) => {
      const right = summary.wrong === 0 && summary.pass > 0;
      verdict.textContent = verdictOf(summary);
      verdict.className = right ? "verdict pass" : "verdict fail";
      verdict.hidden = false;
      all.open = !right;
    }),
  );
  cancel.addEventListener("click", () => client.cancel("check", "validate"));
  const files = (chosen: File[]): void => {
    if (chosen.length === 0) return;
    void run({ type: "validate", files: chosen }, ({ pass, of, adapter }) => {
      doing.textContent = `${pass} of ${of} pass on ${adapter}.`;
      all.open = true;
    });
  };
  const input = byId<HTMLInputElement>("cases");
  input.addEventListener("change", () => {
    files([...(input.files ?? [])]);
    input.value = "";
  });
  return (data) => files([...data.files]);
}

/** What the cases came to, in a sentence. */
export function verdictOf({ adapter, pass, of, wrong, worst }: ValidationSummary): string {
  const not = of - pass - wrong;
  const beside = not ? `; ${not} ask for what it does not have` : "";
  if (wrong || pass === 0)
    return `Wrong on ${adapter}: ${wrong} of ${of} reference cases are not what they must be${beside}. Do not trust its videos.`;
  const near = worst === null ? "" : `, the worst with ${Math.max(1, Math.round(100 * worst))} % of the error that it may have`;
  return `Right on ${adapter}: ${pass} of ${of} reference cases pass${near}${beside}.`;
}

function rowsOf({ name, module, verdict, outputs, error }: CaseResult): Cell[][] {
  if (outputs.length === 0) return [[name, module ?? "–", "–", "–", "–", { text: `${verdict}: ${error ?? ""}`, name: "fail" }]];
  return outputs.map((o) => [
    name,
    module ?? "–",
    o.output,
    { text: figure(o.relativeL2), name: "number" },
    { text: figure(o.maxAbs), name: "number" },
    { text: o.verdict === "pass" ? "pass" : `fail: ${o.note ?? `limit ${o.threshold}`}`, name: o.verdict },
  ]);
}
