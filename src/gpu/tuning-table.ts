/**
 * A table of measurements: which of an op's kernels was fastest on one adapter, by the kind of work (docs/tuning.md). It is data, made by
 * `tune` and kept as JSON, and holds for the adapter, driver and kernels that it was measured with.
 */
import { kernelsVersion } from "../../build/kernels-version.ts";
import { parseJsonObject } from "../base/json-scan.ts";
import { brief } from "../base/brief.ts";
import { CogwheelError } from "../base/errors.ts";
import type { Capabilities } from "./capabilities.ts";

const FORMAT = 1;

/** What a table is measured with. */
export interface TuningHeader {
  readonly format: typeof FORMAT;
  readonly adapter: { readonly vendor: string; readonly architecture: string; readonly device: string };
  /** As the driver describes itself; browsers tell none. */
  readonly driver: string;
  /** A digest of what the adapter can do. */
  readonly capabilities: string;
  /** A digest of the kernels, and of the ops that list them. */
  readonly kernels: string;
}

/** Which kernels were measured to be the fastest on an adapter: data, which `open` takes. */
export interface TuningTable extends TuningHeader {
  /** Label of the variant, by the key of the choice. */
  readonly choices: Readonly<Record<string, string>>;
}

/** What a table for this device must say. */
export function tuningHeader(info: GPUAdapterInfo, caps: Capabilities): TuningHeader {
  // Neither how times are taken nor how parameters travel decides which kernels can run.
  const { tuning: _, timestamps: __, immediates: ___, ...deciding } = caps;
  return {
    format: FORMAT,
    adapter: { vendor: info.vendor, architecture: info.architecture, device: info.device },
    driver: info.description,
    capabilities: digest(JSON.stringify(Object.entries({ ...deciding, description: "" }).sort(([a], [b]) => (a < b ? -1 : 1)))),
    kernels: kernelsVersion,
  };
}

/** `llvmpipe-1a2b3c4d.json`: a file for each adapter and what it can do. A new driver, or new kernels, find the old one and say so. */
export function tuningFile({ adapter, capabilities }: TuningHeader): string {
  const name = [adapter.vendor, adapter.architecture, adapter.device]
    .join("-")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "")
    .slice(0, 60);
  return `${name || "adapter"}-${digest(JSON.stringify(adapter) + capabilities)}.json`;
}

/** Why a table does not hold here; `undefined` if it does. */
export function whyStale(table: TuningTable, here: TuningHeader): string | undefined {
  for (const key of ["vendor", "architecture", "device"] as const) {
    if (table.adapter[key] !== here.adapter[key])
      return `it was measured on another adapter (${key} ${JSON.stringify(table.adapter[key])}, here ${JSON.stringify(here.adapter[key])})`;
  }
  if (table.driver !== here.driver)
    return `it was measured with another driver (${JSON.stringify(table.driver)}, here ${JSON.stringify(here.driver)})`;
  if (table.capabilities !== here.capabilities) return "the adapter can do other things than when it was measured";
  if (table.kernels !== here.kernels) return `it was measured with other kernels (${table.kernels}, here ${here.kernels})`;
  return undefined;
}

/** A table from JSON or from an app, by itself or in the report of a tuning; throws where it is none. */
export function parseTuning(from: unknown): TuningTable {
  const fail = (rule: string): never => {
    throw new CogwheelError("tuning", `${rule}; run \`cogwheel tune\` again`);
  };
  const isRecord = (value: unknown): value is Record<string, unknown> =>
    typeof value === "object" && value !== null && !Array.isArray(value);
  const texts = (value: unknown): value is Record<string, string> =>
    isRecord(value) && Object.values(value).every((v) => typeof v === "string");
  let table = from;
  if (typeof from === "string")
    table = parseJsonObject(
      from,
      (rule, cause) => new CogwheelError("tuning", `a tuning table ${rule}; run \`cogwheel tune\` again`, { cause }),
    );
  if (isRecord(table) && isRecord(table["table"])) ({ table } = table);
  if (!isRecord(table)) return fail(`a tuning table must be an object, got ${brief(table)}`);
  const { format, adapter, driver, capabilities, kernels, choices } = table;
  if (format !== FORMAT) return fail(`a tuning table must have format ${FORMAT}, got ${brief(format)}`);
  if (!texts(adapter) || !["vendor", "architecture", "device"].every((key) => key in adapter))
    return fail(`a tuning table must name its adapter's vendor, architecture and device, got ${brief(adapter)}`);
  if (typeof driver !== "string" || typeof capabilities !== "string" || typeof kernels !== "string")
    return fail("a tuning table must have driver, capabilities and kernels, got one without");
  if (!texts(choices)) return fail(`a tuning table's choices must be variants by key, got ${brief(choices)}`);
  return {
    format,
    adapter: { vendor: adapter["vendor"]!, architecture: adapter["architecture"]!, device: adapter["device"]! },
    driver,
    capabilities,
    kernels,
    choices,
  };
}

/** 32-bit FNV-1a, as 8 hexadecimal digits. */
export function digest(text: string): string {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash.toString(16).padStart(8, "0");
}
