/** Everything is built before the first test: two processes take the files, and what one of them uses the other must not write over. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const FOLDER = "COGWHEEL_TEST_RUN";

export default function build(): () => void {
  execFileSync(process.execPath, ["build.mjs", "--web", "--if-stale"], { cwd: join(import.meta.dirname, "../.."), stdio: "inherit" });
  const folder = mkdtempSync(join(tmpdir(), "cogwheel-tests-"));
  process.env[FOLDER] = folder; // the processes of the files have it from this one
  return () => rmSync(folder, { recursive: true, force: true });
}

/** Of this run alone, for what its processes tell each other. */
export const runFolder = (): string => process.env[FOLDER]!;
