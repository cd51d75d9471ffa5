/** Everything is built before the first test: two processes take the files, and what one of them uses the other must not write over. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";

export default function build(): void {
  execFileSync(process.execPath, ["build.mjs", "--web", "--if-stale"], { cwd: join(import.meta.dirname, "../.."), stdio: "inherit" });
}
