/** The panel that runs dropped reference cases. */
import type { CaseResult } from "../src/index.ts";
import type { Client } from "./client.ts";
import { byId, fillTable, type Cell } from "./dom.ts";
import type { ValidationSummary } from "./validate-worker.ts";
import type { Tell } from "./trouble.ts";

const figure = (v: number | null): string => (v === null || Number.isNaN(v) ? "–" : v === 0 ? "0" : v.toExponential(2));

/** @returns what takes dropped files */
export function validatePanel(client: Client, tell: Tell): (data: DataTransfer) => void {
  const doing = byId("cases-doing");
  const table = byId<HTMLTableElement>("cases-table");
  const run = async (files: File[]): Promise<void> => {
    if (files.length === 0) return;
    tell(null);
    const rows: Cell[][] = [];
    doing.textContent = `Running ${files.length} ${files.length === 1 ? "case" : "cases"} …`;
    try {
      const summary = await client.ask<ValidationSummary>({ type: "validate", files }, (news) => {
        if (news.type !== "row") return;
        rows.push(...rowsOf(news.row as CaseResult));
        fillTable(table, ["Case", "Module", "Output", "Relative L2", "Largest error", "Verdict"], rows);
      });
      doing.textContent = `${summary.pass} of ${summary.of} pass on ${summary.adapter}.`;
    } catch (error) {
      doing.textContent = "";
      tell((error as Error).message);
    }
  };
  const input = byId<HTMLInputElement>("cases");
  input.addEventListener("change", () => {
    void run([...(input.files ?? [])]);
    input.value = "";
  });
  return (data) => void run([...data.files]);
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
