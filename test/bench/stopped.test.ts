/** A bench that is stopped tells and keeps what it has measured. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import type { BenchRecord } from "../../bench/report/record.ts";

test("stopped in its second case, it keeps the first; a log says which is measured", async () => {
  const folder = await mkdtemp(join(tmpdir(), "cogwheel-bench-stopped-"));
  try {
    const json = join(folder, "run.json");
    const args = [resolve("dist/launch.js"), "--exec", "dist/bench/main.js", "scheduler_step:", "--quick", "--skip-peers", "--json", json];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    child.stdout.on("data", (part: Buffer) => (said += part.toString()));
    child.stderr.on("data", (part: Buffer) => {
      const before = said;
      said += part.toString();
      if (/\(2 of \d+\)/.test(said) && !/\(2 of \d+\)/.test(before)) child.kill("SIGINT");
    });
    const [code] = (await once(child, "close")) as [number | null];
    expect(code, said).toBe(130);
    const { results, failures } = JSON.parse(await readFile(json, "utf8")) as BenchRecord;
    expect(results).toHaveLength(1);
    expect(results[0]!.failed).toBeUndefined();
    expect(failures.join("\n")).toMatch(/: stopped before$/m);
    expect(said).toMatch(/^\[bench\] scheduler_step: .* \(1 of \d+\)$/m);
    expect(said).toContain("stopped before");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}, 240_000);
