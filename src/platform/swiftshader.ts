/**
 * SwiftShader, Google's Vulkan on the CPU, out of the npm package `@sparticuz/chromium`, which carries it in
 * `bin/swiftshader.tar.br` together with its ICD manifest and a Vulkan loader. It is unpacked once into a cache.
 * The package is optional: an app that never needs a software adapter does not install it.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { brotliDecompressSync } from "node:zlib";
import { CogwheelError } from "../base/errors.ts";
import { cachePath } from "./cache-node.ts";
import { removeLeftovers, temporaryName } from "./leftovers-node.ts";

const PACKAGE = "@sparticuz/chromium";
const MANIFEST = "vk_swiftshader_icd.json";
const WANTED = new Set([MANIFEST, "libvk_swiftshader.so", "libvulkan.so.1"]);

export interface SwiftShader {
  /** The manifest that VK_DRIVER_FILES is to name. */
  icd: string;
  /** The folder with `libvulkan.so.1`, for LD_LIBRARY_PATH where the system has no Vulkan loader. */
  folder: string;
}

function packageRoot(): string | undefined {
  for (const from of [() => import.meta.url, () => join(process.cwd(), "package.json")]) {
    try {
      for (let folder = dirname(createRequire(from()).resolve(PACKAGE)); folder !== dirname(folder); folder = dirname(folder)) {
        if (existsSync(join(folder, "bin", "swiftshader.tar.br"))) return folder;
      }
    } catch {
      // Not installed as seen from there; or there is no such folder any more.
    }
  }
  return undefined;
}

/** Whether `unpackSwiftShader` would find something to unpack (the package has x64 Linux only). */
export function hasSwiftShader(): boolean {
  return process.platform === "linux" && process.arch === "x64" && packageRoot() !== undefined;
}

/** Unpacks SwiftShader unless that was done before; `undefined` if the package is not installed. */
export async function unpackSwiftShader(): Promise<SwiftShader | undefined> {
  const folder = await unpackPackage("swiftshader", ["swiftshader.tar.br"], (path) =>
    WANTED.has(basename(path)) ? basename(path) : undefined,
  );
  return folder === undefined ? undefined : { folder, icd: join(folder, MANIFEST) };
}

/**
 * Unpacks archives of the package into a folder of the cache that is called after `what` and the package's version, unless
 * that was done before. `place` says under which path a file is kept, if at all. The folder appears under its name when all
 * is in it, so that processes that do this at the same time do not disturb each other. `undefined` without the package.
 */
export async function unpackPackage(
  what: string,
  archives: readonly string[],
  place: (path: string) => string | undefined,
): Promise<string | undefined> {
  if (!hasSwiftShader()) return undefined;
  const root = packageRoot()!;
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  // <project>/node_modules/@sparticuz/chromium → <project>/node_modules/.cache, which goes when node_modules goes.
  const caches = [join(root, "..", "..", ".cache", "cogwheel"), cachePath()].map((cache) => join(cache, `${what}-${version}`));
  const ready = caches.find((folder) => existsSync(folder));
  if (ready) return ready;

  const { parseTar } = await import("nanotar");
  let failure: unknown;
  for (const folder of caches) {
    const temporary = join(dirname(folder), temporaryName(folder));
    try {
      mkdirSync(temporary, { recursive: true });
      await removeLeftovers(dirname(folder), folder);
      for (const archive of archives) {
        const bytes = brotliDecompressSync(readFileSync(join(root, "bin", archive)));
        const files = archive.endsWith(".tar.br") ? parseTar(bytes) : [{ name: basename(archive, ".br"), data: bytes }];
        for (const { name, data } of files) {
          const path = data ? place(name) : undefined;
          if (path === undefined) continue;
          mkdirSync(join(temporary, dirname(path)), { recursive: true });
          writeFileSync(join(temporary, path), data!, { mode: 0o755 });
        }
      }
      try {
        renameSync(temporary, folder);
      } catch (error) {
        if (!existsSync(folder)) throw error; // else another process was first
      }
      return folder;
    } catch (error) {
      failure = error;
    } finally {
      rmSync(temporary, { recursive: true, force: true });
    }
  }
  throw new CogwheelError(
    "adapter",
    `${what} needs a cache folder to be unpacked into, got ${(failure as Error).message} for ${caches.join(" and ")}; ` +
      "set XDG_CACHE_HOME to a folder that can be written",
    { cause: failure },
  );
}
