/**
 * What Vulkan needs on Linux: the loader `libvulkan.so.1`, and manifests (ICD json files) that name the drivers.
 * Which drivers Dawn then accepts is only known by asking it (probe.ts).
 */
import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { basename, delimiter, join } from "node:path";

/** Whether the system has a Vulkan loader that this process, as it was started, can open. */
export function hasVulkanLoader(): boolean {
  if (process.platform !== "linux") return true;
  try {
    process.dlopen({ exports: {} }, "libvulkan.so.1");
    return true;
  } catch (error) {
    // A library that can be opened is then found to be no Node addon; any other message is about opening it.
    return /self-register/.test(String((error as Error).message));
  }
}

/** Every driver manifest that the Vulkan loader would read, in its order. */
export function driverManifests(env: NodeJS.ProcessEnv = process.env): string[] {
  const named = env["VK_DRIVER_FILES"] || env["VK_ICD_FILENAMES"];
  if (named)
    return named
      .split(delimiter)
      .flatMap((path) => (path.endsWith(".json") ? [path] : jsonFiles(path)))
      .filter(existsSync);
  return systemManifests(env);
}

/** The manifests in the system's folders, whatever VK_DRIVER_FILES says. */
function systemManifests(env: NodeJS.ProcessEnv): string[] {
  const home = env["HOME"] || homedir();
  const list = (value: string | undefined, otherwise: string): string[] => (value || otherwise).split(delimiter).filter(Boolean);
  const roots = [
    env["XDG_CONFIG_HOME"] || join(home, ".config"),
    ...list(env["XDG_CONFIG_DIRS"], "/etc/xdg"),
    "/etc",
    env["XDG_DATA_HOME"] || join(home, ".local/share"),
    ...list(env["XDG_DATA_DIRS"], "/usr/local/share:/usr/share"),
    "/usr/local/share",
    "/usr/share",
  ];
  return [...new Set(roots.map((root) => join(root, "vulkan", "icd.d")))].flatMap(jsonFiles);
}

function jsonFiles(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith(".json"))
      .sort()
      .map((name) => join(folder, name));
  } catch {
    return [];
  }
}

/** The manifest of Mesa's CPU driver (`lvp_icd.json`, or `lvp_icd.x86_64.json` in other distributions). */
export function lavapipeManifest(env: NodeJS.ProcessEnv = process.env): string | undefined {
  const machine = { x64: "x86_64", arm64: "aarch64", arm: "armv7l", ia32: "i686" }[process.arch as string] ?? process.arch;
  const own = (path: string): boolean => {
    const parts = basename(path).split(".");
    return parts[0] === "lvp_icd" && (parts.length === 2 || parts[1] === machine);
  };
  return [...driverManifests(env), ...systemManifests(env)].find(own);
}

/** A private folder for XDG_RUNTIME_DIR, whose absence Mesa complains about; `undefined` if none can be had. */
export function runtimeFolder(): string | undefined {
  const folder = join(tmpdir(), `cogwheel-runtime-${process.getuid?.() ?? 0}`);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const { uid, mode } = statSync(folder);
    return uid === process.getuid?.() && (mode & 0o077) === 0 ? folder : undefined;
  } catch {
    return undefined;
  }
}

/** What to type to get Mesa's lavapipe, and the drivers of its GPUs. */
export const MESA_ADVICE =
  "install Mesa's Vulkan drivers: Debian or Ubuntu `apt-get install libvulkan1 mesa-vulkan-drivers` (Debian 12: " +
  "from bookworm-backports, its own Mesa 22 is refused), " +
  "Fedora `dnf install vulkan-loader mesa-vulkan-drivers`, Arch `pacman -S vulkan-icd-loader vulkan-swrast`";

export const SWIFTSHADER_ADVICE = "`npm i @sparticuz/chromium@147` (x64, no root needed)";
