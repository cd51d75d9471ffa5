import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";
import { OPTION_LIST } from "../../src/pipelines/options/table.ts";
import { readmeExample } from "../support/example.ts";
import { textOf } from "../support/imports.ts";
import { publishedTypes, tsc } from "../support/published-types.ts";

const ROOT = join(import.meta.dirname, "../..");

it("the published types know what the README's example uses, for an app that sets no library", async () => {
  expect(await publishedTypes()).toBe("");
  const table = readFileSync(join(ROOT, "dist/types/src/pipelines/options/table.d.ts"), "utf8");
  for (const [name] of OPTION_LIST) expect(table, "every option's doc").toMatch(new RegExp(`\\*/\\n    ${name}: Option<`));
  const folder = mkdtempSync(join(ROOT, "dist/types-example-")); // below the checkout, where the package may import itself
  try {
    const example = await readmeExample();
    writeFileSync(join(folder, "example.mts"), example);
    writeFileSync(join(folder, "wrong.mts"), example.replace("prompt:", "promt:"));
    const app = ["--ignoreConfig", "--noEmit", "--strict", "--target", "es2022"];
    for (const resolution of [
      ["--module", "nodenext"],
      ["--module", "esnext", "--moduleResolution", "bundler"],
    ]) {
      expect(tsc(...app, ...resolution, join(folder, "example.mts"))).toBe("");
    }
    // A server's project has no DOM among its libraries.
    expect(tsc(...app, "--module", "nodenext", "--lib", "es2022", "--types", "node", join(folder, "example.mts"))).toBe("");
    expect(tsc(...app, "--module", "nodenext", join(folder, "wrong.mts"))).toContain("'promt' does not exist");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

/** What lines in the documents take as given, where they do not make it. */
const GIVEN: Readonly<Record<string, string>> = {
  ...Object.fromEntries(["CogVideoX", "VideoVae", "enhance", "loadLora", "measureRates"].map((name) => [name, `typeof api.${name}`])),
  ...{ model: "api.CogVideoX", frames: "api.RgbaFrame[]", draw: "(frame: api.RgbaFrame | undefined) => void", signal: "AbortSignal" },
  ...{ prompt: "string", url: "string", key: "string", image: "api.RgbaFrame", picked: "File" },
};

it("what the documents show of the API has its types", () => {
  const folder = mkdtempSync(join(ROOT, "dist/types-documents-"));
  try {
    const documents = ["README.md", ...readdirSync(join(ROOT, "docs")).flatMap((name) => (name.endsWith(".md") ? [`docs/${name}`] : []))];
    const shown = documents.flatMap((path) =>
      [...textOf(path).matchAll(/^```js\n([^]*?)^```/gm)].map(([, code]) => [path, code!] as const),
    );
    expect(shown.length).toBeGreaterThan(15);
    const files = shown.map(([path, code], i) => {
      const file = join(folder, `${path.replace(/\W/g, "-")}-${i}.mts`);
      const made = (name: string): boolean => new RegExp(`(?:const|import) (?:(?! of )[^=;()])*\\b${name}\\b`).test(code);
      const given = Object.entries(GIVEN).filter(([name]) => !made(name));
      const names = given.map(([name, type]) => `declare const ${name}: ${type};`).join(" ");
      writeFileSync(file, `import type * as api from "cogwheel-webgpu"; ${names}\n${code}`);
      return file;
    });
    // They are JavaScript: parameters of functions have no types.
    const app = ["--ignoreConfig", "--noEmit", "--strict", "--noImplicitAny", "false", "--skipLibCheck", "--target", "es2022"];
    expect(tsc(...app, "--module", "nodenext", "--types", "node", ...files)).toBe("");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

it("what docs/add-*.md write for an op and a model has the engine's types", () => {
  const folder = mkdtempSync(join(ROOT, "dist/types-shown-"));
  try {
    const shown = ["an-op", "a-model"].flatMap((name) => [
      ...textOf(`docs/add-${name}.md`).matchAll(/^## .*`([\w/.-]+\.ts)`\n(?:(?!^##)[^])*?^```ts\n([^]*?)^```/gm),
    ]);
    expect(shown.map(([, path]) => path)).toContain("src/pipelines/NAME/family.ts");
    expect(shown.length).toBe(7);
    for (const [, path, code] of shown) {
      mkdirSync(join(folder, dirname(path!)), { recursive: true });
      writeFileSync(join(folder, path!), code!);
    }
    // As if the files lay in the checkout's own folders.
    const compilerOptions = { rootDirs: [ROOT, folder] };
    writeFileSync(
      join(folder, "tsconfig.json"),
      JSON.stringify({ extends: "../../tsconfig.json", compilerOptions, include: ["src", "test"] }),
    );
    const wrong = tsc("-p", folder)
      .split("\n")
      .filter((line) => line && !line.includes("has no exported member 'scale'")); // of the kernels, whose file is in add-a-kernel.md
    expect(wrong).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
