/**
 * A headless Chromium with WebGPU on SwiftShader, out of the npm package `@sparticuz/chromium`: nothing has to be installed
 * on the machine. `COGWHEEL_CHROMIUM` names another one (where the package has none: it is for x64 Linux).
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { chromium, type Browser, type Page } from "playwright-core";
import { unpackPackage } from "../../src/platform/swiftshader.ts";

/**
 * Chromium gives SwiftShader to WebGPU only with `--enable-unsafe-webgpu`, which also allows what no user's browser has
 * (immediates, before the language feature tells of them); the last flag takes that back.
 */
const FLAGS = [
  "--no-sandbox",
  "--use-webgpu-adapter=swiftshader",
  "--enable-unsafe-swiftshader",
  "--enable-unsafe-webgpu",
  "--disable-dawn-features=allow_unsafe_apis",
];

/** Chromium, SwiftShader beside it where Chromium looks for it, fonts, and in `lib/` the shared libraries that systems may lack. */
const ARCHIVES = ["chromium.br", "swiftshader.tar.br", "fonts.tar.br", "al2023.tar.br"];

/** Starts the browser; throws where it does not start, for a test that nobody runs proves nothing. */
export async function launchChromium(): Promise<Browser> {
  const named = process.env["COGWHEEL_CHROMIUM"];
  const folder = named ? undefined : await unpackPackage("chromium", ARCHIVES, (path) => path);
  const executablePath = named ?? (folder && join(folder, "chromium"));
  if (!executablePath) {
    throw new Error(
      `[browser] the browser tests need a Chromium, got none from @sparticuz/chromium on ${process.platform} ${process.arch}; ` +
        "run npm install, or name a Chrome or Chromium in COGWHEEL_CHROMIUM",
    );
  }
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) if (value !== undefined && !/^VK_/.test(name)) env[name] = value;
  if (folder) {
    env["LD_LIBRARY_PATH"] = [folder, join(folder, "lib"), env["LD_LIBRARY_PATH"]].filter(Boolean).join(":");
    env["FONTCONFIG_FILE"] = await fontConfig(folder);
  }
  try {
    return await chromium.launch({ executablePath, args: FLAGS, env });
  } catch (error) {
    throw new Error(
      `[browser] Chromium must start, got from ${executablePath}:\n${(error as Error).message}\ninstall the libraries ` +
        "that it misses, or name another Chrome or Chromium in COGWHEEL_CHROMIUM",
      { cause: error },
    );
  }
}

/** The package's own configuration names the folders of a cloud function. Without a font Chromium dies at the first input field. */
async function fontConfig(folder: string): Promise<string> {
  const path = join(folder, "cogwheel-fonts.conf");
  await writeFile(
    path,
    `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>${join(folder, "fonts")}</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>${join(folder, "fonts-cache")}</cachedir>
</fontconfig>
`,
  );
  return path;
}

/** What goes wrong in a page from now on, as it comes: errors and warnings of its console, and errors that nobody catches. */
export function troublesOf(page: Page): string[] {
  const wrong: string[] = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) wrong.push(`${message.type()}: ${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => wrong.push(`uncaught: ${error.stack ?? error.message}`));
  return wrong;
}
