import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";
import { withoutDispose } from "../support/without-dispose.ts";

const ROOT = join(import.meta.dirname, "../..");

it("the package defines Symbol.asyncDispose before the classes that use it, in the files that are published", () => {
  execFileSync(process.execPath, ["build.mjs", "--if-stale"], { cwd: ROOT });
  const out = execFileSync(
    process.execPath,
    [
      "--input-type=module",
      "-e",
      `${withoutDispose}
    if (Symbol.asyncDispose) throw new Error("still there");
    const { CogVideoX, Gpu } = await import("cogwheel-webgpu");
    console.log([CogVideoX, Gpu].map((one) => typeof one.prototype[Symbol.asyncDispose]).join(), "undefined" in CogVideoX.prototype);`,
    ],
    { cwd: ROOT, encoding: "utf8" },
  );
  expect(out.trim()).toBe("function,function false");
});
