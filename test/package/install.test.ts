/**
 * The package as an app gets it: packed, installed into an empty project, and the README's lines run there in Node and, bundled by
 * esbuild and by Vite without any configuration, in Chromium.
 */
import { execFile, execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { launchChromium, troublesOf } from "../support/chromium.ts";
import { observer, parseResults, readmeExample, type ExampleResult } from "../support/example.ts";
import { expectClose } from "../support/compare.ts";
import { publishedTypes } from "../support/published-types.ts";
import { serveFolder } from "../../web/server.ts";

const ROOT = join(import.meta.dirname, "../..");
/** What makes the example cheap. */
const SETTINGS = { seed: 1, steps: 2, frames: 1 };
const npm = (args: string[], cwd: string): string =>
  execFileSync("npm", args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], shell: process.platform === "win32" });

let app: string;
let packed: { path: string; size: number }[];
let paths: ReadonlySet<string>;
let node: ExampleResult;

beforeAll(async () => {
  execFileSync(process.execPath, ["build.mjs", "--if-stale"], { cwd: ROOT });
  expect(await publishedTypes()).toBe("");
  app = await mkdtemp(join(tmpdir(), "cogwheel-app-"));
  const [{ files, filename }] = JSON.parse(npm(["pack", "--json", "--ignore-scripts", "--pack-destination", app], ROOT)) as [
    { files: typeof packed; filename: string },
  ];
  packed = files;
  paths = new Set(files.map(({ path }) => path));
  await writeFile(join(app, "package.json"), JSON.stringify({ name: "app", private: true, type: "module" }));
  npm(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", `./${filename}`], app);
  // The adapter of last resort, which an app without a GPU installs for its tests: the checkout's.
  await mkdir(join(app, "node_modules/@sparticuz"), { recursive: true });
  await symlink(join(ROOT, "node_modules/@sparticuz/chromium"), join(app, "node_modules/@sparticuz/chromium"));
  await cp(join(app, "node_modules/cogwheel-webgpu/models"), join(app, "models"), { recursive: true });
  await writeFile(join(app, "example.mjs"), await readmeExample());
  await writeFile(join(app, "observer.mjs"), observer(SETTINGS));
  await writeFile(join(app, "open.mjs"), OPEN);
  await writeFile(join(app, "threaded.mjs"), THREADED);
}, 300_000);
afterAll(async () => {
  await rm(app, { recursive: true, force: true });
});

describe("the tarball", () => {
  it("holds what is needed and nothing else", () => {
    const stray = packed
      .map(({ path }) => path)
      .filter(
        (path) =>
          !/^(package\.json|(README|CHANGELOG|CONTRIBUTING|SECURITY)\.md|LICENSE|NOTICE|docs\/(reference\/)?[\w-]+\.md)$/.test(path) &&
          !/^models\/moving-shapes\/(?!train)/.test(path) &&
          !/^dist\/([\w-]+\.js(\.map)?|chunks\/[\w.-]+\.js(\.map)?|cases\/[\w/.-]+\.safetensors)$/.test(path) &&
          !/^(docs\/pictures|examples|kernels|src|wasm)\/.*\.(gif|html|js|md|mjs|png|py|toml|ts|txt|wgsl)$/.test(path) &&
          !/^dist\/types\/(src|build|types)\/[\w/.-]+\.d\.ts$/.test(path),
      );
    expect(stray).toEqual([]);
    const cases = packed.filter(({ path }) => path.startsWith("dist/cases/"));
    expect(cases.length).toBeGreaterThan(20);
    expect(
      cases.reduce((sum, { size }) => sum + size, 0),
      "bytes of reference cases for doctor",
    ).toBeLessThan(1_000_000);
    for (const path of [
      "dist/node.js",
      "dist/browser.js",
      "dist/launch.js",
      "dist/types/src/index.d.ts",
      "models/moving-shapes/model_index.json",
      "LICENSE",
      "NOTICE",
    ]) {
      expect(packed.map((file) => file.path)).toContain(path);
    }
    const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
    for (const path of ["README.md", "docs/captions.md"])
      expect(readFileSync(join(ROOT, path), "utf8"), path).toContain(`cogwheel-webgpu-${version}.tgz`);
    expect(
      packed.filter(({ path }) => /^dist\/(serve|evaluate)/.test(path)),
      "tools of the checkout",
    ).toEqual([]);
    expect(
      packed.reduce((sum, { size }) => sum + size, 0),
      "bytes of the installed package",
    ).toBeLessThan(42_000_000);
    for (const { path } of packed.filter((file) => file.path.endsWith(".map"))) {
      const { sources, sourcesContent } = JSON.parse(readFileSync(join(app, "node_modules/cogwheel-webgpu", path), "utf8")) as {
        sources: string[];
        sourcesContent: (string | null)[];
      };
      const apart = sources.filter((source, i) => sourcesContent[i] === null && !paths.has(join(path, "..", source).replaceAll("\\", "/")));
      expect(apart, `what ${path} neither holds nor finds in the package`).toEqual([]);
      expect(
        sources.filter((source) => /^(\.\.\/)+(test|bench|web|src\/check\/evaluate)\//.test(source)),
        `what ${path} is made from`,
      ).toEqual([]);
    }
  });

  it("has whatever its documents point at", () => {
    const documents = packed.map(({ path }) => path).filter((path) => path.endsWith(".md"));
    expect(documents.length).toBeGreaterThan(30);
    const dead = documents.flatMap((path) => {
      const text = readFileSync(join(app, "node_modules/cogwheel-webgpu", path), "utf8").replace(/^```[^]*?^```/gm, "");
      return [...text.matchAll(/\]\(([^)\s]+)\)|\b(?:href|src|srcset)="([^"]+)"/g)]
        .map(([, inMarkdown, inHtml]) => (inMarkdown ?? inHtml!).replace(/#.*/, ""))
        .filter((link) => link !== "" && !/^[a-z]+:/.test(link))
        .filter((link) => {
          const to = join(path, "..", link).replaceAll("\\", "/").replace(/\/$/, "");
          return !paths.has(to) && ![...paths].some((file) => file.startsWith(`${to}/`));
        })
        .map((link) => `${path}: ${link}`);
    });
    expect(dead).toEqual([]);
  });

  it("has a browser build without a Node module: at most 400 kB, and what a page loads when it needs it", () => {
    const code = (path: string): string => readFileSync(join(app, "node_modules/cogwheel-webgpu", path), "utf8");
    const statics = (path: string): string[] =>
      [...code(path).matchAll(/\bfrom\s*"([^"]+)"|\bimport\s*"([^"]+)"/g)].map(([, a, b]) => a ?? b!);
    const browser = packed.filter(({ path }) => /^dist\/(browser|chunks\/browser-[\w.-]+)\.js$/.test(path));
    for (const { path } of browser) {
      const dynamic = [...code(path).matchAll(/\bimport\(\s*"([^"]+)"/g)].map(([, name]) => name!);
      expect(
        [...statics(path), ...dynamic].filter((name) => !name.startsWith(".")),
        `${path} imports only its own chunks`,
      ).toEqual([]);
    }
    // What `import "cogwheel-webgpu"` loads: the engine. Codec libraries and the hub's client are chunks of their own, loaded by the
    // call that needs them.
    const loaded = new Set<string>();
    const load = (path: string): void => {
      if (loaded.has(path)) return;
      loaded.add(path);
      for (const name of statics(path)) load(join(path, "..", name).replaceAll("\\", "/"));
    };
    load("dist/browser.js");
    const bytes = [...loaded].reduce((sum, path) => sum + packed.find((file) => file.path === path)!.size, 0);
    expect(bytes, `bytes of ${[...loaded].join(", ")}`).toBeLessThanOrEqual(400_000);
    expect(bytes).toBeGreaterThan(100_000);
    const sources = [...loaded].flatMap((path) => (JSON.parse(code(`${path}.map`)) as { sources: string[] }).sources);
    // The doors of training are there; what is behind them comes when one is opened.
    expect(
      sources.filter((source) => /src\/(gradient|training)\/|src\/ops\/\w+_gradient|kernels-packed-later/.test(source)),
      "what only training needs",
    ).toEqual(sources.filter((source) => /\/src\/training\/(lazy-run|train|vae\/train-vae)\.ts$/.test(source)));
    for (const { path, size } of browser) if (!loaded.has(path)) expect(size, path).toBeLessThanOrEqual(400_000);
  });
});

describe("the commands", () => {
  it.each(["cogwheel", "cogwheel-webgpu"])("%s runs from the installed package", async (command) => {
    const windows = process.platform === "win32";
    const run = (args: string[]): Promise<{ stdout: string }> =>
      promisify(execFile)(windows ? "npx.cmd" : "npx", ["--no", "--", command, ...args], { cwd: app, shell: windows });
    const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
    expect((await run(["--version"])).stdout.trim()).toBe(version);
    expect((await run(["inspect", "models/moving-shapes"])).stdout).toContain("CogVideoXPipeline");
    // A hint is something that can be typed here.
    await expect(run(["models", "rm", "nope"])).rejects.toThrow("`npx cogwheel-webgpu models` lists them");
  });
});

/** An app that opens no model by name; where it is given no adapter it makes a video too. */
const OPEN = `import { CogVideoX } from "cogwheel-webgpu";
export async function opened(adapter) {
  const model = await CogVideoX.open(undefined, adapter && { adapter });
  const name = model.checkpoint.source.label.split(/[\\/]/).at(-1);
  const made = adapter ? undefined : await model.generate({ prompt: "a red circle", steps: 1, frames: 1, seed: 1 });
  await model.close();
  return name + (made ? " " + made.frames[0].width + "x" + made.frames[0].height : "");
}
`;
/** The same with the model in a worker: its own, or one of the app's; what it says of a mistake, and the values of a frame. */
const THREADED = `import { CogVideoX, CogwheelError } from "cogwheel-webgpu/worker";
export async function threaded(from, script) {
  const worker = script && new Worker(script, { type: "module" });
  const model = await CogVideoX.open(from, worker && { worker });
  const wrong = await model.generate({ prompt: "" }).catch((error) => error instanceof CogwheelError && error.code);
  const { frames: [{ width, data }] } = await model.generate({ prompt: "a red circle", steps: 1, frames: 1, seed: 1 });
  await model.close();
  return [wrong, width, new Set(data).size > 10].join(" ");
}
`;
const NOT_THERE = "[checkpoint] without a name the embedded model is opened,";

describe("a model opened without a name, in an app", () => {
  const print = (script: string, cwd: string): Promise<string> =>
    promisify(execFile)(process.execPath, [script], { cwd }).then(({ stdout }) => stdout.trim());

  it("is the embedded one in Node, and where the app is bundled beside it", async () => {
    await writeFile(join(app, "opened.mjs"), 'import { opened } from "./open.mjs"; console.log(await opened("swiftshader"));');
    expect(await print("opened.mjs", app)).toBe("moving-shapes");
    const { build } = await import("esbuild");
    const external = ["webgpu", "@napi-rs/*", "@jsquash/*", "@sparticuz/*"];
    const banner = { js: 'import { createRequire as of } from "node:module"; const require = of(import.meta.url);' };
    await build({
      ...{ entryPoints: [join(app, "opened.mjs")], outfile: join(app, "bundled/app.mjs"), absWorkingDir: app, banner, external },
      ...{ bundle: true, format: "esm", platform: "node", logLevel: "error" },
    });
    expect(await print("bundled/app.mjs", app)).toBe("moving-shapes");
  }, 120_000);

  it("is refused with what to pass where a bundle was taken away from the package", async () => {
    const away = await mkdtemp(join(tmpdir(), "cogwheel-away-"));
    try {
      await cp(join(app, "bundled/app.mjs"), join(away, "app.mjs"));
      await expect(print("app.mjs", away)).rejects.toThrow(`${NOT_THERE} models/moving-shapes of the package cogwheel-webgpu`);
    } finally {
      await rm(away, { recursive: true, force: true });
    }
  });

  it("is the embedded one in a page that loads the package as it lies", async () => {
    const map = JSON.stringify({ imports: { "cogwheel-webgpu": "./node_modules/cogwheel-webgpu/dist/browser.js" } });
    await using server = await serveFolder(app, {
      "index.html":
        `<!doctype html><html lang="en"><title>app</title><link rel="icon" href="data:,"><script type="importmap">${map}</script>` +
        `<script type="module">globalThis.opened = import("./open.mjs").then(({ opened }) => opened());</script></html>`,
    });
    const browser = await launchChromium();
    try {
      const page = await browser.newPage();
      await page.goto(`${server.url}index.html`);
      expect(await page.evaluate<string>("globalThis.opened")).toBe("moving-shapes 64x64");
    } finally {
      await browser.close();
    }
  }, 120_000);
});

describe("the README's lines in an app", () => {
  it("run in Node", async () => {
    await writeFile(
      join(app, "run.mjs"),
      `import { writeFileSync } from "node:fs"; import { results } from "./observer.mjs"; ` +
        `await import("./example.mjs"); writeFileSync("results.json", results());`,
    );
    const launch = "node_modules/cogwheel-webgpu/dist/launch.js";
    await promisify(execFile)(process.execPath, [launch, "--adapter", "swiftshader", "--exec", "run.mjs"], { cwd: app });
    node = parseResults(await readFile(join(app, "results.json"), "utf8"));
    expect(node.videos).toHaveLength(1);
    expect(node.adapter).toMatch(/swiftshader/i);
  }, 300_000);

  /** A page whose only script is the bundle; it tells the example's results when asked. */
  const ENTRY =
    `import { results } from "./observer.mjs"; globalThis.done = import("./example.mjs").then(() => results()); ` +
    `globalThis.opened = () => import("./open.mjs").then(({ opened }) => opened()).catch(({ message }) => message); ` +
    `globalThis.threaded = (...of) => import("./threaded.mjs").then(({ threaded }) => threaded(...of)).catch(({ message }) => message);`;

  it.each(["esbuild", "vite"] as const)(
    "run in Chromium, bundled by %s",
    async (bundler) => {
      const site = join(app, `site-${bundler}`);
      await writeFile(join(app, "entry.mjs"), ENTRY);
      await writeFile(join(app, "model-worker.mjs"), 'import "cogwheel-webgpu/worker-script";');
      await writeFile(
        join(app, "index.html"),
        `<!doctype html><html lang="en"><title>app</title><link rel="icon" ` +
          `href="data:,"><script type="module" src="./entry.mjs"></script></html>`,
      );
      if (bundler === "esbuild") {
        const { build } = await import("esbuild");
        await build({
          entryPoints: [join(app, "entry.mjs"), join(app, "model-worker.mjs")],
          outdir: site,
          bundle: true,
          format: "esm",
          splitting: true,
          platform: "browser",
          logLevel: "error",
          absWorkingDir: app,
          outExtension: { ".js": ".mjs" },
        });
        await cp(join(app, "index.html"), join(site, "index.html"));
      } else {
        const { build } = await import("vite");
        await build({ root: app, configFile: false, logLevel: "error", base: "./", build: { outDir: site, emptyOutDir: true } });
      }
      await cp(join(app, "models"), join(site, "models"), { recursive: true });
      await using server = await serveFolder(site);
      const browser: Browser = await launchChromium();
      try {
        const page = await browser.newPage();
        const wrong = troublesOf(page);
        await page.goto(server.url);
        const got = parseResults(await page.evaluate<string>("globalThis.done"));
        expect(wrong).toEqual([]);
        expectClose(got.videos[0]!.latents, node.videos[0]!.latents, 1e-5);
        // A bundler that follows addresses has brought the embedded model along; one that does not has it said.
        const threaded = (...of: string[]) =>
          page.evaluate<string, string[]>(
            (of) => (globalThis as unknown as Record<string, (...of: string[]) => string>)["threaded"]!(...of),
            of,
          );
        // A relative address counts from the page, and not from the worker's script.
        if (bundler === "vite") expect(await threaded("models/moving-shapes")).toBe("invalid-request 64 true");
        else {
          expect(await threaded("models/moving-shapes", "./model-worker.mjs")).toBe("invalid-request 64 true");
          expect(await threaded("models/moving-shapes")).toMatch(
            /^\[worker\] the model's worker must start, got .*; where a bundler leaves/,
          );
        }
        if (bundler === "esbuild") await page.route("**/moving-shapes/**", (route) => route.fulfill({ status: 404 }));
        const unnamed = await page.evaluate<string>("globalThis.opened()");
        if (bundler === "vite") expect(unnamed).toBe("moving-shapes 64x64");
        else expect(unnamed).toMatch(/^\[checkpoint\] without a name .*, got 404 for http:.*; copy the package's models\/moving-shapes to/);
      } finally {
        await browser.close();
      }
    },
    300_000,
  );
});
