/** The program that reads for Node: where its script lies, and what it is started with. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { CogwheelError } from "../../base/errors.ts";

/** Variables without which a program may not start; all others, the adapters' among them, stay here. */
const KEPT =
  /^(PATH|HOME|TMPDIR|TEMP|TMP|LANG|LC_\w+|TZ|LD_LIBRARY_PATH|DYLD_\w+|SYSTEMROOT|WINDIR|USERPROFILE|APPDATA|LOCALAPPDATA|NODE_PATH)$/i;
/** Of Node's own options only Yarn's way to packages: what watches an app or waits for a debugger is not for this process. */
const PACKAGES = /(?:--require|-r|--import|--loader|--experimental-loader)[= ]("[^"]*\.pnp\.[^"]*"|\S*\.pnp\.\S+)/g;

const PLACES = ["./cogwheel-media.js", "../cogwheel-media.js", "../../../dist/cogwheel-media.js"];
const RULE = "media are read by a program of their own, dist/cogwheel-media.js of this package,";
const REMEDY = `name it with the option reader of decodeVideo (import.meta.resolve("cogwheel-webgpu/media"))`;

/**
 * The script lies beside the bundle of the package, or beside the folder of its chunks; in a checkout in
 * dist/. Throws a CogwheelError where there is none.
 */
export async function scriptOf(named: string | URL | undefined): Promise<string> {
  // It would start itself.
  const sea = await import("node:sea").catch(() => undefined); // since Node 20.12
  if (sea?.isSea())
    throw new CogwheelError(
      "video",
      "media are read by a program of their own, which Node must run, " +
        "got an app that is one file together with Node; run its script with node",
    );
  if (named !== undefined) {
    const path = pathOf(named);
    if (path === undefined || !existsSync(path))
      throw new CogwheelError(
        "video",
        `the option reader must name the file dist/cogwheel-media.js of this package, got ${String(named)}, which is no file; ${REMEDY}`,
      );
    return path;
  }
  const here: string | undefined = import.meta.url; // bundlers leave nothing of it in CommonJS
  const found = here && PLACES.map((place) => fileURLToPath(new URL(place, here))).find((path) => existsSync(path));
  if (!found)
    throw new CogwheelError(
      "video",
      `${RULE} which must lie beside the package's other files, got none${here ? ` beside ${fileURLToPath(here)}` : ""}; ${REMEDY}`,
    );
  return found;
}

function pathOf(named: string | URL): string | undefined {
  try {
    return named instanceof URL || /^[a-z][a-z+.-]+:/i.test(named) ? fileURLToPath(named) : named;
  } catch {
    return undefined; // another scheme than file:
  }
}

export function environment(): NodeJS.ProcessEnv {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => KEPT.test(name)));
  const packages = process.env["NODE_OPTIONS"]?.match(PACKAGES)?.join(" ");
  return { ...env, ...(packages ? { NODE_OPTIONS: packages } : {}), ELECTRON_RUN_AS_NODE: "1" };
}
