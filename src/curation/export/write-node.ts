/** Exports on a disk: written beside their place, read back by the target's checker, and put there when nothing is wrong. */
import { randomUUID } from "node:crypto";
import { copyFile, link, mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname, join, resolve, sep } from "node:path";
import { CogwheelError } from "../../base/errors.ts";
import { systemWords } from "../../platform/system-error.ts";
import { expectOwnCaptions } from "./equal.ts";
import type { ExportTarget, PlannedFile, PlannedMember, WrittenFolder } from "./plan.ts";
import { samplesOf, type DatasetSample } from "./rows.ts";
import { SPLITS, splitBySource, type Split, type SplitShares } from "./split.ts";
import { tarEnd, tarHeader, tarPadding } from "./tar.ts";

export interface ExportDatasetOptions {
  /** Folder with `metadata.jsonl`. */
  readonly dataset: string;
  readonly target: ExportTarget;
  readonly out: string;
  /** Left out: one folder with everything. */
  readonly split?: SplitShares;
  /** Whether many clips of several sources may have one caption. */
  readonly equalCaptions?: boolean;
  readonly signal?: AbortSignal;
  onProgress?(done: number): void;
}

/** What was written: how many clips of each split. */
export interface ExportedDataset {
  readonly out: string;
  readonly clips: Readonly<Partial<Record<Split | "all", number>>>;
}

/** Throws for what the target could not read, before and after writing; a folder that holds something is not written to. */
export async function exportDataset(options: ExportDatasetOptions): Promise<ExportedDataset> {
  const { dataset, target, split, equalCaptions = false, signal, onProgress } = options;
  const out = resolve(options.out);
  const rows = samplesOf(
    await readFile(join(dataset, "metadata.jsonl"), "utf8").catch((error: unknown) => {
      throw new CogwheelError("data", `a data set must have metadata.jsonl, got ${systemWords(error)} at ${dataset}; name its folder`, {
        code: "file",
      });
    }),
  );
  if (!equalCaptions) expectOwnCaptions(rows);
  if ((await readdir(out).catch(() => [])).length)
    throw new CogwheelError("data", `an export must have a folder of its own, got ${out} with files in it; choose another --out`);
  const parts = partsOf(rows, split);
  const made = `${out}.${randomUUID().slice(0, 8)}.tmp`;
  try {
    let done = 0;
    for (const [name, own] of parts) {
      const [place, final] = name === "all" ? [made, out] : [join(made, name), join(out, name)];
      const files = target.plan(own, final.split(sep).join("/"));
      for (const file of files) {
        signal?.throwIfAborted();
        await writePlanned(join(place, file.path), file, dataset);
        onProgress?.(++done / (files.length * parts.size));
      }
      // It is read as if it lay where it will.
      const wrong = await target.check(folderAt(place, final), own);
      if (wrong.length)
        throw new CogwheelError("data", `${target.reader} must read what was written, got ${wrong.length} faults; report this`, {
          code: "failed",
          lines: wrong.slice(0, 10),
        });
    }
    await rm(out, { recursive: true, force: true });
    await rename(made, out);
  } catch (error) {
    await rm(made, { recursive: true, force: true });
    throw error;
  }
  return { out, clips: Object.fromEntries([...parts].map(([name, own]) => [name, own.length])) };
}

function partsOf(rows: readonly DatasetSample[], shares: SplitShares | undefined): Map<Split | "all", DatasetSample[]> {
  if (!shares) return new Map([["all", [...rows]]]);
  const of = splitBySource(rows, shares);
  const parts = SPLITS.map((name) => [name, rows.filter((_, i) => of[i] === name)] as const);
  return new Map(parts.filter(([, own]) => own.length));
}

async function writePlanned(path: string, file: PlannedFile, dataset: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  if ("from" in file) return await placed(join(dataset, file.from), path);
  await using to = await open(path, "wx");
  if ("text" in file) await to.writeFile(file.text);
  else {
    for (const member of file.members) await writeMember(to, member, dataset);
    await to.writeFile(tarEnd());
  }
  await to.sync();
}

async function writeMember(to: import("node:fs/promises").FileHandle, member: PlannedMember, dataset: string): Promise<void> {
  const bytes = "text" in member ? new TextEncoder().encode(member.text) : await readFile(join(dataset, member.from));
  await to.writeFile(tarHeader(member.name, bytes.length));
  await to.writeFile(bytes);
  await to.writeFile(tarPadding(bytes.length));
}

/** A second name for the clip's file where the disk has such, else a copy. */
async function placed(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    if (!(await stat(from).catch(() => undefined)))
      throw new CogwheelError(
        "data",
        `a clip that metadata.jsonl names must be there, got ${systemWords(error)} at ${from}; make it again`,
        { code: "file" },
      );
    await copyFile(from, to);
  }
}

/** @param path where it lies @param as where it will */
export function folderAt(path: string, as = resolve(path)): WrittenFolder {
  return {
    path: as.split(sep).join("/"),
    async list() {
      const names = await readdir(path, { recursive: true });
      const files = await Promise.all(
        names.map(async (name) => ((await stat(join(path, name))).isFile() ? [name.split(sep).join("/")] : [])),
      );
      return files.flat();
    },
    text: async (file) => await readFile(join(path, file), "utf8"),
    bytes: async (file) => await readFile(join(path, file)),
  };
}
