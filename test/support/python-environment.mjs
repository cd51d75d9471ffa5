/**
 * A Python with the packages of a requirements file, for development tools: an environment of
 * its own in the user's cache folder, made once.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";

/** What numpy and torch of the requirements ask for. */
const OLDEST = [3, 11];

/**
 * The interpreter: COGWHEEL_PYTHON where that is set, with its own packages; else that of an environment with what `requirements` names.
 * Ends the process with a message where there is none.
 * @param {{ what: string, purpose: string, requirements: string, folder?: string | undefined }} options `what` names the tool in
 * messages and in the folder's name; `purpose` says what Python is for; `folder` is where the environment is
 * @returns {string}
 */
export function pythonFor({ what, purpose, requirements, folder }) {
  const fail = (message) => {
    console.error(`[${what}] ${message}`);
    process.exit(1);
  };
  const named = process.env.COGWHEEL_PYTHON;
  if (named && !versionOf(named))
    fail(`COGWHEEL_PYTHON must be a Python interpreter, got ${named}, which does not run; correct the path, or unset it`);
  return named || environmentPython(what, purpose, requirements, folder, fail);
}

/** @returns {number[] | null} major and minor version; null where there is no Python under this name */
function versionOf(python) {
  const { status, stdout } = spawnSync(python, ["-c", "import sys; print(*sys.version_info[:2])"], { encoding: "utf8" });
  return status === 0 ? stdout.trim().split(" ").map(Number) : null;
}

function installedPython(purpose, fail) {
  const seen = [];
  for (const name of ["python3", "python"]) {
    const version = versionOf(name);
    if (!version) continue;
    if (version[0] > OLDEST[0] || (version[0] === OLDEST[0] && version[1] >= OLDEST[1])) return name;
    seen.push(`${name} ${version.join(".")}`);
  }
  return fail(
    `Python ${OLDEST.join(".")} or later must be installed ${purpose}, ` +
      `got ${seen.join(", ") || "none on PATH"}; install it, or name one in COGWHEEL_PYTHON`,
  );
}

/** The environment's interpreter; the environment is made if it is not there, or was left unfinished. */
function environmentPython(what, purpose, requirements, given, fail) {
  const digest = createHash("sha256").update(readFileSync(requirements)).digest("hex").slice(0, 12);
  const folder = given || join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "cogwheel", `${what}-${digest}`);
  const python = join(folder, ...(process.platform === "win32" ? ["Scripts", "python.exe"] : ["bin", "python"]));
  const finished = join(folder, `requirements-${digest}`);
  if (existsSync(finished)) return python;
  const base = installedPython(purpose, fail);
  console.error(`[${what}] installing the packages of requirements.txt in ${folder}, once`);
  mkdirSync(dirname(folder), { recursive: true });
  const run = (command, args, remedy) => {
    const { status } = spawnSync(command, args, { stdio: ["inherit", process.stderr, "inherit"] });
    if (status !== 0) fail(`${[command, ...args].join(" ")} must succeed, got exit code ${status}; ${remedy}`);
  };
  // What pip made of another requirements.txt is not a pinned environment any more.
  rmSync(folder, { recursive: true, force: true });
  run(
    base,
    ["-m", "venv", folder],
    "on Debian and Ubuntu install python3-venv, or name an interpreter that has the packages in COGWHEEL_PYTHON",
  );
  run(python, ["-m", "pip", "install", "--disable-pip-version-check", "--quiet", "-r", requirements], "look at pip's message above");
  writeFileSync(finished, "");
  return python;
}
