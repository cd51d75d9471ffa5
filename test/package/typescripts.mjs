/**
 * `npm run check:types`: the packed package's doors in strict projects without skipLibCheck, under the versions of TypeScript that are held
 * to, by Node's resolution and a bundler's. Installs the package and the compilers into a folder of its own, so it is not among the tests.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "../..");
const VERSIONS = ["5.7", "5.9", "7"];

const APP = `import { CogVideoX, CogwheelError, encodeVideo, type ErrorCode, type Gpu } from "cogwheel-webgpu";
import * as graph from "cogwheel-webgpu/graph";
import { CogVideoX as Threaded, GenerationInterrupted } from "cogwheel-webgpu/worker";
export async function make(gpu: Gpu): Promise<Uint8Array> {
  const device: GPUDevice = gpu.device;
  // @ts-expect-error A device is no number: its type is known.
  const none: number = gpu.device;
  const model = await CogVideoX.open("folder", { gpu });
  const { frames } = await model.generate({ prompt: "a circle", onProgress: (stage, done) => void [stage.length, done.toFixed()] });
  const code: ErrorCode = new CogwheelError("app", "rule").code;
  void [device, none, graph.Graph];
  return await encodeVideo(frames, { format: code === "failed" ? "gif" : "mp4", fps: 8 });
}
export async function elsewhere(signal: AbortSignal): Promise<Blob> {
  await using model = await Threaded.open();
  const run = model.generate({ prompt: "a circle", preview: true, signal });
  for await (const { preview } of run) void preview()[0]?.width.toFixed();
  // @ts-expect-error Textures are of the thread that has the device.
  await model.generate({ prompt: "a circle", textures: true });
  const video = await run.catch((error: unknown) => {
    if (error instanceof GenerationInterrupted) return model.generate({ prompt: "a circle", start: error.state });
    throw error;
  });
  return await video.blob("mp4");
}
`;

/** What a bundler finds at `/data`; Node finds it too, and more. */
const DATA = `import { bytesTaskFile, clipsOf, CUT_DEFAULTS, decodeCurves, parseFilter, runTask } from "cogwheel-webgpu/data";
import type { Columns, CutClip, StageResult } from "cogwheel-webgpu/data";
export async function cut(bytes: Uint8Array<ArrayBuffer>, row: Columns): Promise<CutClip | undefined> {
  const file = bytesTaskFile("film.mp4", bytes);
  const facts = await runTask(file, { task: "scan" }, () => {});
  const read = await runTask(file, { task: "curves" }, () => {});
  const curves = decodeCurves(read.curves, "film.mp4");
  const [clip] = clipsOf("film", facts, curves, [{ from: 0, to: curves.frames }], CUT_DEFAULTS);
  // @ts-expect-error A filter takes a row of columns.
  parseFilter("motion > 0.3").takes(7);
  const result: StageResult<number> = { stage: "scan", key: "", of: "", value: 1, ms: 0 };
  if (!clip || !parseFilter("motion > 0.3").takes(row) || result.error) return undefined;
  return await runTask(file, { task: "cut", span: clip, copy: true }, () => {});
}
`;
const NODE_DATA = `import { Curation, fileLedgerStore, shotNetworkOf, TransNet, writeCurationReport } from "cogwheel-webgpu/data";
export async function rows(videos: string): Promise<string[]> {
  const curation = await Curation.open({ videos, out: "set", select: { where: "motion > 0.02" } });
  const clips = await curation.measure(await curation.cut(await curation.scan()));
  // @ts-expect-error An id is a text.
  const wrong: number | undefined = clips[0]?.clip.id;
  void [wrong, fileLedgerStore, shotNetworkOf, TransNet, writeCurationReport];
  return (await curation.export(clips, await curation.write(clips))).map(({ file_name }) => file_name);
}
`;

const run = (command, args, cwd) => execFileSync(command, args, { cwd, encoding: "utf8", shell: process.platform === "win32" });

const folder = mkdtempSync(join(tmpdir(), "cogwheel-types-"));
let wrong = 0;
try {
  const [{ filename }] = JSON.parse(run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], ROOT));
  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, type: "module" }));
  for (const [name, text] of [
    ["app", APP],
    ["data", DATA],
    ["node-data", NODE_DATA],
  ])
    writeFileSync(join(folder, `${name}.ts`), text);
  const compilers = VERSIONS.map((version) => `typescript-${version}@npm:typescript@${version}`);
  run("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", `./${filename}`, ...compilers], folder);
  for (const version of VERSIONS) {
    // A server's project has no DOM among its libraries.
    for (const [module, dom] of [["node16"], ["nodenext"], ["preserve"], ["node16", []]]) {
      // Before TypeScript 6 every package of @types counts unless they are named, and one that a codec library brings contradicts 5.9's DOM.
      const compilerOptions = {
        strict: true,
        skipLibCheck: false,
        noEmit: true,
        target: "es2022",
        lib: ["es2022", ...(dom ?? ["dom", "dom.iterable"])],
        types: [],
      };
      const name = dom ? `${module} without the DOM` : module;
      const files = ["app.ts", "data.ts", ...(module === "preserve" ? [] : ["node-data.ts"])];
      writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions: { ...compilerOptions, module }, files }));
      try {
        run(process.execPath, [`node_modules/typescript-${version}/bin/tsc`], folder);
        console.log(`TypeScript ${version}, module ${name}: passes`);
      } catch (error) {
        wrong++;
        console.log(`TypeScript ${version}, module ${name}: FAILS\n${error.stdout}`);
      }
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = wrong ? 1 : 0;
