/** Mesa's RADV as a null device: what it needs, and processes that compile on it. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, openSync, closeSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { packageRoot } from "../../src/cli/package-root.ts";
import { cachePath } from "../../src/platform/cache-node.ts";

export interface Radv {
  /** The driver, `libvulkan_radeon.so`. */
  readonly library: string;
  readonly manifest: string;
}

/** The driver wrapped (nullicd.c), or what is missing. */
export function findRadv(): Radv | string {
  if (process.platform !== "linux") return "Linux, for Mesa's RADV";
  const folders = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    ...(process.env["LD_LIBRARY_PATH"]?.split(delimiter) ?? []),
  ];
  const library = process.env["COGWHEEL_RADV"] ?? folders.map((folder) => join(folder, "libvulkan_radeon.so")).find(existsSync);
  if (!library) return "Mesa's RADV up to 25.x (libvulkan_radeon.so of the package mesa-vulkan-drivers; or name it in COGWHEEL_RADV)";
  const source = join(packageRoot, "bench", "isa", "nullicd.c");
  const cache = cachePath("isa");
  const wrapper = join(cache, "libnullicd.so");
  mkdirSync(cache, { recursive: true });
  if (!existsSync(wrapper) || statSync(wrapper).mtimeMs < statSync(source).mtimeMs) {
    const built = spawnSync("gcc", ["-shared", "-fPIC", "-O1", source, "-o", wrapper, "-ldl"], { encoding: "utf8" });
    if (built.error) return "gcc";
    if (built.status !== 0)
      return /vulkan\.h/.test(built.stderr)
        ? "Vulkan's headers (package libvulkan-dev)"
        : `a C compiler that builds nullicd.c, got ${built.stderr.trim().split("\n")[0]}`;
  }
  const manifest = join(cache, "nullicd.json");
  writeFileSync(manifest, JSON.stringify({ file_format_version: "1.0.1", ICD: { library_path: wrapper, api_version: "1.4.0" } }));
  return { library, manifest };
}

export interface Compiled {
  /** What the process wrote on its standard output. */
  readonly out: string;
  /** What the driver wrote after each `@@ {…}` line of the process. */
  readonly sections: readonly { readonly head: Record<string, string>; readonly text: string }[];
  readonly code: number | null;
}

/** Runs a script of `dist/` on the null device of one AMD family. */
export function compileOn(radv: Radv, family: string, script: string, args: readonly string[] = [], seconds = 300): Promise<Compiled> {
  const folder = mkdtempSync(join(tmpdir(), "cogwheel-isa-"));
  const log = join(folder, "stderr");
  const file = openSync(log, "w");
  // The engine's own choice of an adapter is left out: Dawn must see this driver alone.
  const { COGWHEEL_PROBED: _, COGWHEEL_ADAPTER: __, VK_ICD_FILENAMES: ___, ...env } = process.env;
  const child = spawn(process.execPath, [join(packageRoot, "dist", "bench", script), ...args], {
    stdio: ["ignore", "pipe", file],
    timeout: 1000 * seconds,
    killSignal: "SIGKILL",
    env: {
      ...env,
      VK_DRIVER_FILES: radv.manifest,
      COGWHEEL_RADV: radv.library,
      RADV_FORCE_FAMILY: family,
      RADV_DEBUG: "cs,asm,shaderstats,nocache",
      XDG_RUNTIME_DIR: process.env["XDG_RUNTIME_DIR"] || folder,
    },
  });
  let out = "";
  child.stdout!.setEncoding("utf8").on("data", (text: string) => {
    out += text;
  });
  return new Promise((done) =>
    child.on("close", (code) => {
      closeSync(file);
      const sections = readFileSync(log, "utf8")
        .split(/^@@ /m)
        .slice(1)
        .map((text) => {
          const end = text.indexOf("\n");
          return { head: JSON.parse(text.slice(0, end)) as Record<string, string>, text: text.slice(end + 1) };
        });
      rmSync(folder, { recursive: true, force: true });
      done({ out, sections, code });
    }),
  );
}
