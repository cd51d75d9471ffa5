/**
 * `npm run check:naga`: every variant of every kernel that a browser without subgroups and immediates may choose is accepted by naga, the
 * compiler of Firefox, and by its writers of MSL and HLSL. Needs no adapter; needs naga (`cargo install naga-cli`).
 *
 *   npm run check:naga -- [--naga PATH] [--keep FOLDER]
 */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Command } from "commander";
import { PRECISIONS } from "../../src/check/sweep/matrix.ts";
import { planCase } from "../../src/check/sweep/run-case.ts";
import type { Capabilities } from "../../src/gpu/capabilities.ts";
import { specialise } from "../../src/gpu/kernel.ts";
import { allCases } from "#sweep-cases";

const { naga, keep } = new Command("check:naga")
  .description("are all kernels of a browser without subgroups and immediates accepted by Firefox's compiler?")
  .option("--naga <path>", "naga's command", "naga")
  .option("--keep <folder>", "a folder that the modules stay in, and what naga makes of them")
  .parse()
  .opts<{ naga: string; keep?: string }>();
const run = promisify(execFile);

/** The least that WebGPU promises, as Firefox gives it. */
const LEAST = {
  ...{ vendor: "", architecture: "", description: "the least that WebGPU promises" },
  ...{ subgroups: null, subgroupMatrices: [], timestamps: false, dotI8: true, immediates: false },
  ...{ maxBindingBytes: 2 ** 27, maxBufferBytes: 2 ** 28, maxWorkgroupInvocations: 256, maxWorkgroupBytes: 16384, maxStorageBuffers: 8 },
  ...{ maxGrid: 65535, offsetAlignment: 256 },
} as const satisfies Partial<Capabilities>;

interface Variant {
  readonly label: string;
  readonly code: string;
  readonly overrides: Readonly<Record<string, number | undefined>>;
}

/** Each once. */
function variants(): Variant[] {
  const found = new Map<string, Variant>();
  for (const kind of ["hardware", "software"] as const)
    for (const f16 of [true, false])
      for (const list of allCases)
        for (const choice of list.kernels) {
          const caps: Capabilities = { ...LEAST, kind, f16 };
          if (choice.needs?.(caps) !== undefined) continue;
          for (const c of list.cases)
            for (const precision of PRECISIONS) {
              if (precision === "f16" && (!f16 || c.half?.length === 0)) continue;
              if (choice.takes && !choice.takes(c, caps, precision)) continue;
              for (const { label, dispatch } of planCase(list, c, choice, precision, caps).plan.steps) {
                const { kernel, types, consts, overrides = {} } = dispatch;
                const variant = { label, code: specialise(kernel, { types, consts }, false), overrides };
                found.set(`${JSON.stringify(overrides)} ${variant.code}`, variant);
              }
            }
        }
  return [...found.values()];
}

const version = await run(naga, ["--version"]).then(
  ({ stdout }) => stdout.trim(),
  () => undefined,
);
if (version === undefined) {
  console.error(`[naga] naga must be there, got none as ${naga}; install it (cargo install naga-cli), or name it with --naga`);
  process.exit(1);
}
const all = variants();
const folder = keep ?? (await mkdtemp(join(tmpdir(), "cogwheel-naga-")));
await mkdir(folder, { recursive: true });
const refused: string[] = [];
let next = 0;
async function work(): Promise<void> {
  for (let i = next++; i < all.length; i = next++) {
    const { label, code, overrides } = all[i]!;
    const file = join(folder, `${i}.wgsl`);
    await writeFile(file, code);
    const values = Object.entries(overrides).flatMap(([name, value]) => (value === undefined ? [] : ["--override", `${name}=${value}`]));
    // MSL has an entry's bindings by their place.
    const options = ["--metal-version", "2.1", ...values];
    await run(naga, [...options, file, join(folder, `${i}.metal`), join(folder, `${i}.hlsl`)]).catch((error: { stderr?: string }) => {
      refused.push(`${label}\n${(error.stderr ?? String(error)).trim()}`);
    });
  }
}
await Promise.all(Array.from({ length: availableParallelism() }, work));
if (!keep) await rm(folder, { recursive: true });
for (const one of refused) console.error(`\n${one}`);
console.log(`naga ${version}: ${all.length - refused.length} of ${all.length} modules accepted, with their MSL and HLSL`);
process.exitCode = refused.length || all.length < 200 ? 1 : 0;
