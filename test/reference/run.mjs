/**
 * `npm run reference`: makes the reference cases again with pinned versions of torch, diffusers and transformers, and compares with
 * what is committed. Exit code 0 when all agree.
 *
 *   npm run reference                      make every case and compare (generate.py --check)
 *   npm run reference -- --write           write them under cases/ instead
 *   npm run reference -- --large           write the true-width cases (2.5 GB) under cases-large/
 *   npm run reference -- --trace           write cases with every intermediate under cases-trace/
 *   npm run reference -- fuzz --out DIR    random cases instead (fuzz.py; `npm run fuzz` makes and runs them)
 *   npm run reference -- pictures OUT.json random pictures and what Pillow reads in them (../video/pictures/draw.py)
 *   npm run reference -- adapters --out DIR  random LoRA adapters of PEFT and diffusers (adapters.py), likewise
 *   npm run reference -- --only Conv3d     of any of these only some; --list, --out DIR, --check as in generate.py
 *
 * The versions are installed once, in a virtual environment of their own in the user's cache folder.
 *   COGWHEEL_PYTHON=/path/to/python        use this interpreter and its packages, install nothing
 *   COGWHEEL_REFERENCE_VENV=DIR            where the environment is (default: ~/.cache/cogwheel/reference-<digest of requirements.txt>)
 * pip's own variables are heeded: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu spares Linux the CUDA libraries.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";

const here = import.meta.dirname ?? dirname(new URL(import.meta.url).pathname);
const requirements = join(here, "requirements.txt");
/** What numpy and torch of requirements.txt ask for. */
const OLDEST = [3, 11];

function fail(message) {
  console.error(`[reference] ${message}`);
  process.exit(1);
}

/** @returns {number[] | null} major and minor version; null where there is no Python under this name */
function versionOf(python) {
  const { status, stdout } = spawnSync(python, ["-c", "import sys; print(*sys.version_info[:2])"], { encoding: "utf8" });
  return status === 0 ? stdout.trim().split(" ").map(Number) : null;
}

function installedPython() {
  const seen = [];
  for (const name of ["python3", "python"]) {
    const version = versionOf(name);
    if (!version) continue;
    if (version[0] > OLDEST[0] || (version[0] === OLDEST[0] && version[1] >= OLDEST[1])) return name;
    seen.push(`${name} ${version.join(".")}`);
  }
  return fail(`Python ${OLDEST.join(".")} or later must be installed to make reference cases, got ${seen.join(", ") || "none on PATH"}; install it, or name one in COGWHEEL_PYTHON`);
}

/** The environment's interpreter; the environment is made if it is not there, or was left unfinished. */
function environmentPython() {
  const digest = createHash("sha256").update(readFileSync(requirements)).digest("hex").slice(0, 12);
  const folder = process.env.COGWHEEL_REFERENCE_VENV || join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "cogwheel", `reference-${digest}`);
  const python = join(folder, ...(process.platform === "win32" ? ["Scripts", "python.exe"] : ["bin", "python"]));
  const finished = join(folder, `requirements-${digest}`);
  if (existsSync(finished)) return python;
  const base = installedPython();
  console.error(`[reference] installing the packages of requirements.txt in ${folder}, once`);
  mkdirSync(dirname(folder), { recursive: true });
  const run = (command, args, remedy) => {
    const { status } = spawnSync(command, args, { stdio: ["inherit", process.stderr, "inherit"] });
    if (status !== 0) fail(`${[command, ...args].join(" ")} must succeed, got exit code ${status}; ${remedy}`);
  };
  // What pip made of another requirements.txt is not a pinned environment any more.
  rmSync(folder, { recursive: true, force: true });
  run(base, ["-m", "venv", folder], "on Debian and Ubuntu install python3-venv, or name an interpreter that has the packages in COGWHEEL_PYTHON");
  run(python, ["-m", "pip", "install", "--disable-pip-version-check", "--quiet", "-r", requirements], "look at pip's message above");
  writeFileSync(finished, "");
  return python;
}

const given = process.argv.slice(2);
const named = process.env.COGWHEEL_PYTHON;
if (named && !versionOf(named)) fail(`COGWHEEL_PYTHON must be a Python interpreter, got ${named}, which does not run; correct the path, or unset it`);
const python = named || environmentPython();
/** What else runs in this environment. */
const others = { fuzz: join(here, "fuzz.py"), adapters: join(here, "adapters.py"), pictures: join(here, "../video/pictures/draw.py") };
const other = others[given[0]];
const makes = ["--write", "--large", "--trace", "--list", "--check", "--help", "-h"].some((flag) => given.includes(flag));
const args = other ? [other, ...given.slice(1)] : [join(here, "generate.py"), ...(makes ? [] : ["--check"]), ...given.filter((arg) => arg !== "--write")];
const { status, signal } = spawnSync(python, args, { stdio: "inherit" });
process.exitCode = status ?? (signal ? 130 : 1);
