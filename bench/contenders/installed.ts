/** The peers are installed apart from the project, in bench/peers/node_modules, by `npm run bench:peers`. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { packageRoot } from "../../src/cli/package-root.ts";

export const peersFolder = join(packageRoot, "bench", "peers");
const require = createRequire(join(peersFolder, "package.json"));

export const peerInstalled = (name: string): boolean => existsSync(join(peersFolder, "node_modules", ...name.split("/")));
export const peerRequire = (name: string): unknown => require(name);
export const peerImport = (name: string): Promise<any> => import(pathToFileURL(require.resolve(name)).href);
export function peerVersion(name: string): string {
  return (require(join(peersFolder, "node_modules", ...name.split("/"), "package.json")) as { version: string }).version;
}
