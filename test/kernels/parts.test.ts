/** Parts that kernels share: each kernel has their text, and the build refuses one that has another. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { packageRoot } from "../../src/cli/package-root.ts";

const { checkParts, readParts, withParts } = (await import(join(packageRoot, "kernel-parts.mjs"))) as {
  readParts(folder?: string): Map<string, string[]>;
  withParts(path: string, source: string, parts: Map<string, string[]>): string;
  checkParts(path: string, source: string, parts: Map<string, string[]>): void;
};
const KERNELS = join(packageRoot, "kernels");
const parts = readParts(KERNELS);
const kernels = readdirSync(KERNELS, { recursive: true })
  .map((file) => String(file).replaceAll("\\", "/"))
  .filter((file) => file.endsWith(".wgsl") && !file.startsWith("shared/"))
  .map((file) => ({ file, text: readFileSync(join(KERNELS, file), "utf8") }));
const having = (part: string) => kernels.filter(({ text }) => text.includes(`//! part ${part}\n`));

it("stand in every kernel that has them as they stand in kernels/shared/", () => {
  for (const { file, text } of kernels) {
    checkParts(file, text, parts);
    expect(withParts(file, text, parts)).toBe(text);
  }
});

it.each([...parts.keys()])("%s is in two kernels or more, which declare what it expects", (part) => {
  const text = readFileSync(join(KERNELS, part), "utf8");
  expect(text.split("\n")[0]).toMatch(new RegExp(`^// ${part} — \\S`));
  const users = having(part);
  expect(users.length).toBeGreaterThan(1);
  const expects = /^\/\/ Expects {3}(.*(?:\n\/\/ {11}.*)*)/m.exec(text)![1]!;
  const names = [...expects.matchAll(/`(\w+)`/g)].map(([, name]) => name!);
  for (const { file, text: kernel } of users) {
    const others = kernel.split(`//! part ${part}\n`).map((piece, i) => (i ? piece.slice(piece.indexOf("//! part ends")) : piece));
    for (const name of names)
      expect(others.join(""), `${file} declares ${name}`).toMatch(
        new RegExp(`\\b(fn|struct|alias|const|override|var|let|var<[^>]*>) ${name}\\b|\\) ${name}:`),
      );
  }
});

/** Lines of code without their comments; what stands between a part's markers counts as the part's, not as the kernel's. */
function codeOf(text: string): string[] {
  const own = text.replace(/^ *\/\/! part shared[^]*?^ *\/\/! part ends$/gm, "\0").replace(/\/\/.*$/gm, "");
  return own
    .split("\n")
    .map((line) => line.replace(/\s+/g, " ").trim())
    .filter(Boolean);
}

it("no nine lines of code stand in two files, but for the loops of two kernels of conv3d", () => {
  const LENGTH = 9;
  const files = [...kernels, ...[...parts.keys()].map((file) => ({ file, text: readFileSync(join(KERNELS, file), "utf8") }))];
  const places = new Map<string, Set<string>>();
  for (const { file, text } of files) {
    const code = codeOf(text);
    for (let i = 0; i + LENGTH <= code.length; i++) {
      const run = code.slice(i, i + LENGTH);
      if (run.includes("\0")) continue;
      const key = run.join("\n");
      places.set(key, (places.get(key) ?? new Set()).add(file));
    }
  }
  expect(places.size).toBeGreaterThan(500);
  // Their loops over taps and channels differ in one line, inside of four of them, and what they add in the middle.
  const known = "conv/conv3d_octet.wgsl and conv/conv3d_quad.wgsl";
  const repeated = [...places].filter(([, at]) => at.size > 1).map(([run, at]) => ({ in: [...at].sort().join(" and "), run }));
  expect(repeated.filter((one) => one.in !== known)).toEqual([]);
});

it("are packed once for browsers, and each kernel has them again when it is asked for", async () => {
  const [plain, packed] = await Promise.all([import("../../build/kernels.ts"), import("../../build/kernels-packed.ts")]);
  expect(packed.allKernels.map(({ name, source }) => [name, source])).toEqual(plain.allKernels.map(({ name, source }) => [name, source]));
});

const kernel = kernels.find(({ file }) => file === "elementwise/silu.wgsl")!;
const MARKED = "//! part shared/silu.wgsl";
it.each([
  [
    "a part changed in a kernel",
    kernel.text.replace("clamp(-v", "clamp(v"),
    "kernels/shared/silu.wgsl, got another; make the change in that file and run `node build.mjs --parts`",
  ],
  [
    "a part that is not there",
    kernel.text.replace(MARKED, "//! part shared/swish.wgsl"),
    /a part must be one of .*shared\/silu\.wgsl.* got shared\/swish/,
  ],
  [
    "a part without an end",
    kernel.text.replace("//! part ends\n", ""),
    /`\/\/! part shared\/silu\.wgsl` must have its `\/\/! part ends` below/,
  ],
  ["a marker that is none", kernel.text.replace("//! part ends", "//! part end"), /must have its `\/\/! part ends` below/],
  ["an end without a part", `//! part ends\n${kernel.text}`, /a marker must be .* got "\/\/! part ends"/],
])("refuses %s, with the line and the remedy", (_, text, rule) => {
  expect(text).not.toBe(kernel.text);
  expect(() => checkParts("elementwise/silu.wgsl", text, parts)).toThrow(rule);
  expect(() => checkParts("elementwise/silu.wgsl", text, parts)).toThrow(/^elementwise\/silu\.wgsl:\d+: /);
});

it("are checked by the build, and written by build --parts", () => {
  const copy = mkdtempSync(join(tmpdir(), "cogwheel-parts-"));
  try {
    for (const name of ["kernels", "build.mjs", "kernel-packs.mjs", "kernel-parts.mjs", "kernels-version.mjs", "package.json"])
      cpSync(join(packageRoot, name), join(copy, name), { recursive: true });
    symlinkSync(join(packageRoot, "node_modules"), join(copy, "node_modules"), "junction");
    const path = join(copy, "kernels/shared/silu.wgsl");
    writeFileSync(path, readFileSync(path, "utf8").replaceAll("80.0", "70.0"));
    const build = (...options: string[]) => spawnSync(process.execPath, ["build.mjs", ...options], { cwd: copy, encoding: "utf8" });
    const stopped = build();
    expect(stopped.status).toBe(1);
    expect(stopped.stderr).toMatch(/kernels\/\S+\.wgsl:\d+: what stands below `\/\/! part shared\/silu\.wgsl` must be/);
    expect(build("--parts")).toMatchObject({ status: 0, stderr: "" });
    for (const { file } of having("shared/silu.wgsl"))
      expect(readFileSync(join(copy, "kernels", file), "utf8"), file).toContain("clamp(-v, vec4<f32>(-70.0), vec4<f32>(70.0))");
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
});
