/** What reports say of the machine and of the versions, so that a figure can be told from another's. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { arch, cpus, platform, release, totalmem } from "node:os";
import { join } from "node:path";
import { packageInfo, packageRoot } from "./package-root.ts";

export function versions(): { readonly cogwheel: string; readonly node: string; webgpu?: string } {
  const found: ReturnType<typeof versions> = { cogwheel: packageInfo().version, node: process.versions.node };
  try {
    const webgpu = createRequire(join(packageRoot, "package.json")).resolve("webgpu/package.json");
    found.webgpu = (JSON.parse(readFileSync(webgpu, "utf8")) as { version: string }).version;
  } catch {
    // Dawn from elsewhere.
  }
  return found;
}

export const system = () => ({
  platform: platform(),
  release: release(),
  arch: arch(),
  cpu: cpus()[0]?.model ?? "",
  cores: cpus().length,
  memory: totalmem(),
});
