/**
 * What `cogwheel tune` does when it has measured: writes the report, and keeps the table for this
 * user. For kills.ts, which ends it in the middle.
 */
import "../../src/base/dispose.ts";
import { writeWhole } from "../../src/cli/files.ts";
import { storeTuning } from "../../src/gpu/tuning-store.ts";

const which = process.argv[2] ?? "old";
const choices = Object.fromEntries(Array.from({ length: which === "old" ? 900 : 300 }, (_, i) => [`matmul ${i}`, `variant ${which}`]));
const table = {
  format: 1 as const,
  adapter: { vendor: "v", architecture: "a", device: "d" },
  driver: which,
  capabilities: "00000000",
  kernels: "k",
  choices,
};
await writeWhole("report.json", new TextEncoder().encode(JSON.stringify(table)), "--out");
await storeTuning(table);
