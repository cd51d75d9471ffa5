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
import { dirname, join } from "node:path";
import { pythonFor } from "../support/python-environment.mjs";

const here = import.meta.dirname ?? dirname(new URL(import.meta.url).pathname);
const python = pythonFor({
  what: "reference",
  purpose: "to make reference cases",
  requirements: join(here, "requirements.txt"),
  folder: process.env.COGWHEEL_REFERENCE_VENV,
});
const given = process.argv.slice(2);
/** What else runs in this environment. */
const others = { fuzz: join(here, "fuzz.py"), adapters: join(here, "adapters.py"), pictures: join(here, "../video/pictures/draw.py") };
const other = others[given[0]];
const makes = ["--write", "--large", "--trace", "--list", "--check", "--help", "-h"].some((flag) => given.includes(flag));
const args = other
  ? [other, ...given.slice(1)]
  : [join(here, "generate.py"), ...(makes ? [] : ["--check"]), ...given.filter((arg) => arg !== "--write")];
const { status, signal } = spawnSync(python, args, { stdio: "inherit" });
process.exitCode = status ?? (signal ? 130 : 1);
