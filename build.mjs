// Builds the package: kernels/**/*.wgsl → build/kernels.ts (typed modules, by wgsl_reflect; for browsers build/kernels-packed*.ts, the
// same with the texts deflated, kernel-packs.mjs) → dist/ (by esbuild).
//   node build.mjs              build everything
//   node build.mjs --if-stale   only when a source is newer than dist/
//   node build.mjs --web        the playground too: a static site in dist/web/, for any path of any server
//   node build.mjs --parts      only writes kernels/shared/*.wgsl into the kernels that have them as parts (kernel-parts.mjs)
import { readdirSync, rmSync, readFileSync, writeFileSync, mkdirSync, statSync, existsSync, chmodSync, cpSync } from "node:fs";
import { createHash } from "node:crypto";
import { join, basename, dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { build, transform } from "esbuild";
import { WgslReflect } from "wgsl_reflect/wgsl_reflect.module.js";
import { kernelsByName, kernelsThatLoadWith, packModule, packOf } from "./kernel-packs.mjs";
import { checkParts, readParts, withParts } from "./kernel-parts.mjs";
import { DISPATCHING, kernelsVersion } from "./kernels-version.mjs";

const root = dirname(fileURLToPath(import.meta.url));
process.chdir(root);

function files(dir, ext) {
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { withFileTypes: true })
    .flatMap((e) => (e.isDirectory() ? files(join(dir, e.name), ext) : e.name.endsWith(ext) ? [join(dir, e.name)] : []))
    .sort();
}

const CASES = "src/check/sweep/cases";
const WASM = "wasm/pixels.ts";
const sources = [
  ...files("kernels", ".wgsl"),
  ...files("src", ".ts"),
  ...files("bench", ".ts"),
  ...files("test/fuzz", ".ts"),
  ...files("test/jobs/prove", ".ts"),
  ...files("test/support", ".ts"),
  ...files("web", ""),
  WASM,
  CASES, // a folder is as old as the last file that came or went
  "build.mjs",
  "kernel-packs.mjs",
  "kernel-parts.mjs",
  "kernels-version.mjs",
  "package.json",
];
const kernelFiles = files("kernels", ".wgsl").filter((path) => basename(dirname(path)) !== "shared");
const parts = readParts();
if (process.argv.includes("--parts")) {
  for (const path of kernelFiles) {
    const source = readFileSync(path, "utf8");
    const whole = withParts(path, source, parts);
    if (whole !== source) writeFileSync(path, whole);
  }
  process.exit(0);
}

const web = process.argv.includes("--web");
const stamp = web ? "dist/web/.stamp" : "dist/.stamp";
mkdirSync(dirname(stamp), { recursive: true });
if (process.argv.includes("--if-stale") && existsSync(stamp)) {
  const built = statSync(stamp).mtimeMs;
  if (sources.every((file) => statSync(file).mtimeMs <= built)) process.exit(0);
}

/** `matmul_tiled` → `matmulTiled` */
const camel = (name) => name.replace(/_([a-z0-9])/g, (_, c) => c.toUpperCase());

/**
 * Function bodies say nothing about a kernel's interface, and the reflector does not know every extension's
 * types (subgroup matrices). Where it fails on the whole file it is given the declarations alone.
 */
function reflect(path, source) {
  try {
    return new WgslReflect(source);
  } catch {
    const bodiless = source.replace(/^(@[^\n]*\n)*(@[^\n]*)?fn (?:[^\n]*\}$|[\s\S]*?^\})/gm, (fn) =>
      /@compute/.test(fn) ? fn.replace(/\{[\s\S]*$/, "{}") : "",
    );
    try {
      return new WgslReflect(bodiless.replace(/^(enable|requires|diagnostic)[^;]*;/gm, ""));
    } catch (error) {
      throw new Error(`${path}: wgsl_reflect cannot read its declarations: ${error?.message ?? error}`);
    }
  }
}

function kernelModule(path, source) {
  const name = basename(path, ".wgsl");
  const fail = (rule) => {
    throw new Error(`${path}: ${rule}`);
  };
  const blocks = [...source.matchAll(/^\/\/! specialise\n([\s\S]*?)^\/\/! end/gm)].map(([, lines]) => lines);
  const block = blocks.length ? blocks.join("") : fail("needs a `//! specialise … //! end` block");
  const info = reflect(path, source);
  if (info.entry.compute.length !== 1 || info.entry.compute[0].name !== "main") fail("must have one compute entry point, `main`");

  const bindings = {};
  for (const variable of info.storage) {
    if (variable.group !== 0) fail(`bindings must be in group 0, got @group(${variable.group}) for ${variable.name}`);
    const type =
      new RegExp(`var<storage[^>]*>\\s*${variable.name}\\s*:\\s*([^;]+);`).exec(source)?.[1] ??
      fail(`cannot find the declaration of ${variable.name}`);
    if (variable.binding === 0) fail("binding 0 is kept for params");
    bindings[variable.name] = { binding: variable.binding, access: variable.access || "read", type };
  }
  const uniform = info.uniforms.find((v) => v.name === "params");
  if (info.uniforms.some((v) => v.name !== "params" || v.binding !== 0)) fail("the only uniform is `params`, at binding 0");
  if (uniform && !/var<uniform> params\b/.test(block)) fail("`params` must be declared inside a specialise block");
  const params = Object.fromEntries((uniform?.members ?? []).map((m) => [m.name, { type: m.type.name, offset: m.offset }]));

  const types = {},
    consts = {};
  for (const line of block.split("\n")) {
    const alias = /^alias (\w+) = (f32|f16|u32|i32);/.exec(line);
    if (alias) types[alias[1]] = alias[2];
    const constant = /^const (\w+)(?:: *\w+)? = ([^;]+);/.exec(line);
    if (constant && /^(-?[\d.]+(u|i|f)?|true|false)$/.test(constant[2]))
      consts[constant[1]] = constant[2] === "true" ? 1 : constant[2] === "false" ? 0 : parseFloat(constant[2]);
  }
  const overrides = {};
  for (const [, id, value] of source.matchAll(/^override (\w+)[^=;]*= *(\d+)u?;/gm)) overrides[id] = Number(value);
  const enables = [...source.matchAll(/^enable ([^;]+);/gm)].flatMap((m) => m[1].split(",").map((s) => s.trim()));

  const union = (record) =>
    Object.keys(record)
      .map((k) => JSON.stringify(k))
      .join(" | ") || "never";
  const shape =
    `{ bindings: ${union(bindings)}; params: ${union(params)}; consts: ${union(consts)}; ` +
    `types: ${union(types)}; overrides: ${union(overrides)} }`;
  const value = {
    name,
    family: basename(dirname(path)),
    bindings,
    params,
    paramBytes: uniform ? Math.ceil(uniform.size / 4) * 4 : 0,
    consts,
    types,
    overrides,
    enables,
  };
  return { name, shape, value: JSON.stringify(value), code: codeOf(source) };
}

/** Comments and indentation are for readers of the file; the package carries the code. */
function codeOf(source) {
  return source
    .split("\n")
    .map((l) => (/^\/\/! (specialise|end)/.test(l) ? l : l.replace(/\s*\/\/.*$/, "").replace(/^\s+/, "")))
    .filter((l) => l !== "")
    .join("\n");
}

const kernels = kernelFiles.map((path) => {
  const source = readFileSync(path, "utf8");
  checkParts(path, source, parts);
  return { path, source, ...kernelModule(path, source) };
});
const version = await kernelsVersion(
  kernels.map((k) => ({ name: k.name, source: k.code })),
  [...files("src/ops", ".ts"), ...DISPATCHING].map((path) => readFileSync(path, "utf8")),
);
mkdirSync("build", { recursive: true });
const packageVersion = JSON.parse(readFileSync("package.json", "utf8")).version;
writeFileSync(
  "build/kernels-version.ts",
  `// Generated by build.mjs.\nexport const kernelsVersion = ${JSON.stringify(version)};\n` +
    `export const packageVersion = ${JSON.stringify(packageVersion)};\n`,
);
const generated = `// Generated by build.mjs from kernels/**/*.wgsl.\nimport type { Kernel } from "../src/gpu/kernel.ts";\n`;
const listOf = (names) => `export const allKernels: readonly Kernel[] = [${names.join(", ")}] as unknown as readonly Kernel[];\n`;
const modules = kernels.map(
  (k) =>
    `// ${k.path}\nexport const ${camel(k.name)}: Kernel<${k.shape}> = ` +
    `{ ...${k.value} as unknown as Kernel<${k.shape}>, source: ${JSON.stringify(k.code)} };\n`,
);
writeFileSync("build/kernels.ts", [generated, ...modules, listOf(kernels.map((k) => camel(k.name)))].join("\n"));

// What is computed of every frame of a film, as WebAssembly in base64. Its compiler takes some seconds: it is asked when something changed.
const wasmSource = readFileSync(WASM, "utf8");
const { version: compilerVersion } = JSON.parse(readFileSync("node_modules/assemblyscript/package.json", "utf8"));
const wasmDigest = createHash("sha256").update(compilerVersion).update(wasmSource).digest("hex");
const wasmMark = `// Generated by build.mjs from ${WASM}, ${wasmDigest}\n`;
if (!existsSync("build/pixels.ts") || !readFileSync("build/pixels.ts", "utf8").startsWith(wasmMark)) {
  const { default: asc } = await import("assemblyscript/asc");
  let wasm;
  // Two megabytes hold a small frame's work: memory that grows makes all typed arrays of a process slower.
  const options = ["-O3", "--noAssert", "--runtime", "stub", "--enable", "simd", "--initialMemory", "32", "--outFile", "pixels.wasm"];
  const { error, stderr } = await asc.main([WASM, ...options], {
    writeFile(_, contents) {
      wasm = Buffer.from(contents);
    },
  });
  if (error) throw new Error(`${WASM}: ${stderr.toString() || error.message}`);
  writeFileSync("build/pixels.ts", `${wasmMark}export const wasm = "${wasm.toString("base64")}";\n`);
}

// The case list of every op, by the names of their files: a new one is found without being told of anywhere else.
const lists = files(CASES, ".ts").map((path) => basename(path, ".ts"));
writeFileSync(
  "build/sweep-cases.ts",
  `// Generated by build.mjs from ${CASES}/*.ts.\nimport type { OpCases } from "../src/check/sweep/case.ts";\n` +
    lists.map((op) => `import { ${camel(op)}Cases } from "../${CASES}/${op}.ts";\n`).join("") +
    `\nexport const allCases: readonly OpCases[] = [${lists.map((op) => `${camel(op)}Cases`).join(", ")}];\n`,
);

const common = { bundle: true, format: "esm", target: "es2022", sourcemap: true, logLevel: "warning", packages: "external" };
/** Builds what there is of some entries; their chunks go to a folder beside them. */
async function buildForNode(entries, chunks) {
  // Chunks are named by their content: those of earlier builds would stay, and be published.
  rmSync(join("dist", chunks), { recursive: true, force: true });
  const entryPoints = Object.fromEntries(Object.entries(entries).filter(([, file]) => existsSync(file)));
  await build({
    ...common,
    entryPoints,
    outdir: "dist",
    platform: "node",
    conditions: ["node"],
    splitting: true,
    chunkNames: `${chunks}/[name]-[hash]`,
  });
}
await buildForNode(
  {
    launch: "src/cli/launch.ts",
    "cogwheel-media": "src/video/sandbox/node-child.ts",
    "cogwheel-media-watch": "src/video/sandbox/node-watch.ts",
    "cogwheel-worker": "src/pipelines/workers/node-child.ts",
    "cogwheel-train-worker": "src/training/vae/workers/child-node.ts",
    "cogwheel-curation": "src/curation/work/child-node.ts",
    cli: "src/cli/main.ts",
    node: "src/index.ts",
    "node-graph": "src/engine.ts",
    "node-data": "src/data-node.ts",
    "node-worker": "src/worker.ts",
    "cogwheel-thread": "src/thread-node.ts",
  },
  "chunks",
);
// The scripts of the pages that `cogwheel data label` and `cogwheel serve` serve.
await build({
  ...common,
  platform: "browser",
  minify: true,
  sourcemap: false,
  entryPoints: { "cogwheel-label-page": "src/cli/label/page.ts", "cogwheel-serve-page": "src/server/page/page.ts" },
  outdir: "dist",
});
// Tools of the checkout, which are not published. The bench and its contenders are each a process of its own.
const benchEntries = {
  "bench/main": "bench/main.ts",
  "bench/readme": "bench/report/readme.ts",
  "bench/load-server": "bench/load/server.ts",
  "bench/seconds": "bench/seconds/main.ts",
  "bench/curation": "bench/curation/main.ts",
  "bench/naga": "bench/naga/main.ts",
  "bench/pictures": "bench/report/pictures.ts",
  ...Object.fromEntries(["cogwheel", "onnxruntime", "tfjs", "jax"].map((name) => [`bench/${name}`, `bench/contenders/${name}.ts`])),
  ...Object.fromEntries(
    Object.entries({ isa: "main", "isa-compile": "compile", "isa-onnxruntime": "onnxruntime" }).map(([name, file]) => [
      `bench/${name}`,
      `bench/isa/${file}.ts`,
    ]),
  ),
};
await buildForNode(
  {
    ...benchEntries,
    evaluate: "src/cli/evaluate.ts",
    "draw-clips": "src/cli/draw-clips.ts",
    synthetic: "src/cli/synthetic/main.ts",
    "docs/memory": "src/pipelines/cogvideox/memory-page-main.ts",
    "docs/ops": "src/check/sweep/ops-table-main.ts",
    "test/fuzz": "test/fuzz/main.ts",
    "test/jobs-prove": "test/jobs/prove/main.ts",
    "test/kills-tune": "test/fuzz/kills-tune.ts",
    serve: "web/serve.ts",
  },
  "tools",
);

// The decoders of pictures come as bytes in a chunk. Their packages would fetch them from beside their own file; bundlers of apps that
// follow such addresses would look for a file that is not there.
const codecsInChunks = {
  name: "codecs in chunks",
  setup(build) {
    build.onLoad({ filter: /@jsquash.*_dec\.js$/ }, ({ path }) => {
      const source = readFileSync(path, "utf8");
      const contents = source.replace(/new URL\("(\w+\.wasm)",import\.meta\.url\)\.href/, '"$1"');
      if (contents === source) throw new Error(`${path}: no longer names its .wasm in the way that build.mjs replaces`);
      return { contents };
    });
  },
};
// What help and forms say of the options is for the command line and the playground: the engine checks by the rest of the table.
const optionsWithoutWords = {
  name: "options without words",
  setup(build) {
    build.onLoad({ filter: /pipelines.options.table\.ts$/ }, async ({ path }) => {
      const { code } = await transform(readFileSync(path, "utf8"), { loader: "ts", minifySyntax: true, minifyWhitespace: true });
      const contents = code.replace(/,(?:help|flag|flagHelp|otherwise):"(?:[^"\\]|\\.)*"|,page:\{[^{}]*\}/g, "");
      if (/\b(help|page):/.test(contents)) throw new Error(`${path}: words of options in a form that build.mjs does not know`);
      return { contents };
    });
  },
};
// Kernels are inflated by one function of a library. What readers of pictures use of it would be in the same chunk, and load with the engine.
const inflateApart = {
  name: "inflate apart",
  setup(build) {
    build.onResolve({ filter: /^fflate$/ }, async ({ importer, kind, resolveDir, pluginData }) => {
      if (pluginData === "apart" || !/packed-kernels\.ts$/.test(importer)) return undefined;
      const { path } = await build.resolve("fflate", { kind, resolveDir, importer, pluginData: "apart" });
      return { path, suffix: "?kernels", sideEffects: false };
    });
  },
};
// The hub's client names its browser build in a way that esbuild does not follow: hence the alias.
const browser = {
  ...common,
  platform: "browser",
  conditions: ["browser"],
  packages: "bundle",
  minify: true,
  splitting: true,
  loader: { ".wasm": "binary" },
  plugins: [codecsInChunks, inflateApart],
  alias: { "@huggingface/hub": "./node_modules/@huggingface/hub/dist/browser/index.mjs" },
};
// What reads untrusted media in a page is one file without imports: some bundlers make such workers of one piece only. Its text is in a
// module too, for bundlers that leave the file behind.
const {
  outputFiles: [mediaWorker],
} = await build({
  ...browser,
  splitting: false,
  sourcemap: false,
  entryPoints: ["src/video/sandbox/browser-worker.ts"],
  outdir: "dist/chunks",
  write: false,
});
writeFileSync(
  "build/media-worker-text.ts",
  `// Generated by build.mjs from src/video/sandbox/browser-worker.ts.\nexport const text = ${JSON.stringify(mediaWorker.text)};\n`,
);
const writeMediaWorker = (folder) => {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "browser-media-worker.js"), mediaWorker.contents);
};
const entryPoints = { browser: "src/index.ts", "browser-graph": "src/engine.ts" };
const first = await kernelsThatLoadWith(browser, entryPoints);
const numbered = new Map([...parts.keys()].map((name, i) => [name, [`\x01${i}\x01`]]));
for (const pack of ["first", "later"]) {
  const own = kernels
    .filter((k) => first.has(camel(k.name)) === (pack === "first"))
    .map((k) => ({ ...k, name: camel(k.name), text: codeOf(withParts(k.path, k.source, numbered)) }));
  const texts = [...parts.values()].map((lines) => codeOf(lines.join("\n")));
  writeFileSync(`build/kernels-packed-${pack}.ts`, packModule(own, texts));
}
writeFileSync(
  "build/kernels-packed.ts",
  generated +
    ["first", "later"].map((pack) => `import * as ${pack} from "./kernels-packed-${pack}.ts";\n`).join("") +
    ["first", "later"].map((pack) => `export * from "./kernels-packed-${pack}.ts";\n`).join("") +
    listOf(kernels.map((k) => `${first.has(camel(k.name)) ? "first" : "later"}.${camel(k.name)}`)),
);
const plugins = [...browser.plugins, kernelsByName(packOf(first))];
// The engine, and chunks of what a page loads when it needs it: training, codec libraries, the hub's client.
await build({
  ...browser,
  plugins: [...plugins, optionsWithoutWords],
  entryPoints,
  outdir: "dist",
  chunkNames: "chunks/browser-[name]-[hash]",
});
// Apart from the engine, which does not grow by chunks that both would share.
await build({
  ...browser,
  plugins,
  entryPoints: { "browser-data": "src/data-page.ts" },
  outdir: "dist",
  chunkNames: "chunks/browser-data-[name]-[hash]",
});
// Apart too, for it loads nothing of the engine; the worker's script is beside the engine, which it loads as it lies.
await build({
  ...browser,
  plugins,
  entryPoints: { "browser-worker": "src/worker.ts" },
  outdir: "dist",
  chunkNames: "chunks/browser-worker-[name]-[hash]",
});
const engineBeside = {
  name: "engine beside",
  setup(build) {
    build.onResolve({ filter: /^\.\/index\.ts$/ }, () => ({ path: "./browser.js", external: true }));
  },
};
await build({
  ...browser,
  splitting: false,
  plugins: [engineBeside],
  entryPoints: { "browser-thread": "src/thread-page.ts" },
  outdir: "dist",
});
writeMediaWorker("dist/chunks");
// The smallest reference case of every module, for `cogwheel doctor` and the playground; what trains a whole VAE is too large.
const smallCases = readdirSync("test/reference/cases").flatMap((module) => {
  const folder = join("test/reference/cases", module);
  const [smallest] = readdirSync(folder)
    .map((name) => ({ path: join(folder, name), name: `${module}/${name}`, size: statSync(join(folder, name)).size }))
    .sort((a, b) => a.size - b.size || (a.path < b.path ? -1 : 1));
  return smallest && smallest.size < 200_000 ? [smallest] : [];
});
if (web) {
  const site = "dist/web";
  rmSync(site, { recursive: true, force: true });
  mkdirSync(site, { recursive: true });
  const EMBEDDED = "models/moving-shapes";
  cpSync(EMBEDDED, join(site, EMBEDDED), {
    recursive: true,
    filter: (path) => !/moving-shapes.train/.test(path),
  });
  const embedded = readdirSync(join(site, EMBEDDED), { recursive: true })
    .map((file) => file.replaceAll("\\", "/"))
    .filter((file) => statSync(join(site, EMBEDDED, file)).isFile() && !basename(file).startsWith("."));
  const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
  const embeddedFiles = embedded.map((file) => {
    const bytes = readFileSync(join(site, EMBEDDED, file));
    // Of safetensors: eight bytes that say how long the names, types and places are, and those.
    const head = file.endsWith(".safetensors") ? { head: 8 + Number(bytes.readBigUInt64LE()) } : {};
    return [file, { bytes: bytes.length, digest: sha256(bytes), ...head }];
  });
  const { metafile } = await build({
    ...browser,
    plugins,
    entryPoints: {
      ...{ app: "web/app.ts", worker: "web/worker.ts", fit: "web/fit.ts" },
      ...{ join: "web/join.ts", "join-worker": "web/join-worker.ts" },
    },
    outdir: site,
    chunkNames: "chunks/[name]-[hash]",
    metafile: true,
    define: {
      EMBEDDED_FILES: JSON.stringify(Object.fromEntries(embeddedFiles)),
      CASES: JSON.stringify(smallCases.map(({ name }) => name)),
      PACKAGE_VERSION: JSON.stringify(JSON.parse(readFileSync("package.json", "utf8")).version),
    },
  });
  writeMediaWorker(join(site, "chunks"));
  const pageFiles = ["index.html", "style.css", "icon.svg", "manifest.webmanifest", "sample.jpg"];
  for (const { path, name } of smallCases) cpSync(path, join(site, "cases", name));
  for (const file of [...pageFiles, "join.html"]) cpSync(join("web", file), join(site, file));
  // What the page and its worker load at once, and what is small and may be loaded before the service worker has the page. That is one file
  // in the site's own folder.
  const shell = new Set(["app.js", "worker.js", "fit.js"].map((file) => `${site}/${file}`));
  for (const output of shell)
    for (const { path, kind } of metafile.outputs[output].imports)
      if (kind === "import-statement" || metafile.outputs[path].bytes < 2 ** 16) shell.add(path);
  // The checkpoint's small files are read as soon as the page is there, which is before a service worker has it.
  const model = embedded.map((file) => `${EMBEDDED}/${file}`);
  const small = model.filter((file) => file.endsWith(".json") && statSync(join(site, file)).size < 2 ** 16);
  const digest = createHash("sha256");
  for (const file of readdirSync(site, { recursive: true }).sort())
    if (statSync(join(site, file)).isFile() && !file.endsWith(".map")) digest.update(file).update(readFileSync(join(site, file)));
  await build({
    ...common,
    platform: "browser",
    minify: true,
    format: "iife",
    entryPoints: { offline: "web/offline.ts" },
    outdir: site,
    define: {
      VERSION: JSON.stringify(digest.digest("hex").slice(0, 16)),
      SHELL: JSON.stringify([...pageFiles, ...small, ...[...shell].map((path) => path.slice(site.length + 1))]),
      MODEL: JSON.stringify(model),
    },
  });
}
for (const { path, name } of smallCases) cpSync(path, join("dist/cases", name));
// The package has src/ and kernels/, at which its source maps point: each text once in place of once for every door. What else they are made
// from (packages, generated modules) stays in them.
for (const path of [
  ...files("dist/chunks", ".map"),
  ...readdirSync("dist").flatMap((name) => (name.endsWith(".map") ? [`dist/${name}`] : [])),
]) {
  const map = JSON.parse(readFileSync(path, "utf8"));
  const own = (source) => /^(\.\.\/)+(src|kernels)\//.test(source) && existsSync(join(dirname(path), source));
  map.sourcesContent = map.sourcesContent.map((text, i) => (own(map.sources[i]) ? null : text));
  writeFileSync(path, JSON.stringify(map));
}
if (existsSync("dist/launch.js")) chmodSync("dist/launch.js", 0o755);
writeFileSync(stamp, "");
