/** `npm run reference`: the environment is made once, arguments and exit codes go through, and what is missing is said. */
import { spawnSync } from "node:child_process";
import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

let temporary: string;
let folder: string;
let environment: string;

/** The script beside a generator that says what it was called with, and requirements that need no network. */
beforeAll(async () => {
  temporary = await mkdtemp(join(tmpdir(), "cogwheel-reference-"));
  folder = join(temporary, "reference");
  for (const name of ["reference", "support"]) await mkdir(join(temporary, name));
  environment = join(folder, "environment");
  await copyFile(join(import.meta.dirname, "run.mjs"), join(folder, "run.mjs"));
  await copyFile(join(import.meta.dirname, "../support/python-environment.mjs"), join(temporary, "support/python-environment.mjs"));
  await writeFile(join(folder, "requirements.txt"), "# nothing\n");
  await writeFile(
    join(folder, "generate.py"),
    'import sys\nprint(sys.prefix, "|", *sys.argv[1:])\nsys.exit(3 if "--only" in sys.argv else 0)\n',
  );
});
afterAll(() => rm(temporary, { recursive: true }));

function run(args: readonly string[], env: Record<string, string> = {}) {
  const { COGWHEEL_PYTHON: _, ...rest } = process.env;
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(folder, "run.mjs"), ...args], {
    encoding: "utf8",
    env: { ...rest, COGWHEEL_REFERENCE_VENV: environment, ...env },
  });
  return { status, said: stdout.trim(), stderr };
}
const python = spawnSync("python3", ["-c", "import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))"]).status === 0;

describe("with a Python that is there", () => {
  test("the environment is made once; without arguments the cases are compared", { timeout: 120_000 }, async ({ skip }) => {
    skip(!python, "needs python3 of 3.11 or later with venv and ensurepip");
    const first = run([]);
    expect(first).toMatchObject({ status: 0, said: `${environment} | --check` });
    expect(first.stderr).toContain(`installing the packages of requirements.txt in ${environment}, once`);
    const made = (await stat(join(environment, "pyvenv.cfg"))).mtimeMs;
    const second = run(["--only", "Conv3d"]);
    expect(second).toEqual({ status: 3, said: `${environment} | --check --only Conv3d`, stderr: "" });
    expect((await stat(join(environment, "pyvenv.cfg"))).mtimeMs).toBe(made);
  });

  test.for([
    [["--write"], ""],
    [["--large"], "--large"],
    [["--trace", "--large"], "--trace --large"],
    [["--large", "--check"], "--large --check"],
    [["--list"], "--list"],
  ] as const)("%j makes or lists, as generate.py has it", ([args, said], { skip }) => {
    skip(!python, "needs python3 of 3.11 or later with venv and ensurepip");
    expect(run(args)).toMatchObject({ status: 0, said: `${environment} | ${said}`.trim() });
  });

  test("an environment of other requirements is made anew; a failed installation is not taken for one", { timeout: 120_000 }, async ({
    skip,
  }) => {
    skip(!python, "needs python3 of 3.11 or later with venv and ensurepip");
    await writeFile(join(folder, "requirements.txt"), "./not-there.whl\n");
    const { status, said, stderr } = run([]);
    expect({ status, said }).toEqual({ status: 1, said: "" });
    expect(stderr).toMatch(/\[reference\] .*pip install .* must succeed, got exit code 1; look at pip's message above/);
    expect((await readdir(environment)).filter((name) => name.startsWith("requirements-"))).toEqual([]);
    await writeFile(join(folder, "requirements.txt"), "# nothing\n");
    expect(run([])).toMatchObject({ status: 0, said: `${environment} | --check` });
  });
});

test("COGWHEEL_PYTHON is used as it is, and must run", async ({ skip }) => {
  const gone = run([], { COGWHEEL_PYTHON: join(folder, "gone") });
  expect(gone.status).toBe(1);
  expect(gone.stderr).toContain(
    "[reference] COGWHEEL_PYTHON must be a Python interpreter, " +
      `got ${join(folder, "gone")}, which does not run; correct the path, or unset it`,
  );
  skip(process.platform === "win32" || spawnSync("python3", ["--version"]).status !== 0, "needs python3");
  const own = join(folder, "own-python");
  await writeFile(own, '#!/bin/sh\nexec python3 "$@"\n');
  await chmod(own, 0o755);
  const { status, said } = run(["--list"], { COGWHEEL_PYTHON: own });
  expect({ status, said: said.split(" | ")[1] }).toEqual({ status: 0, said: "--list" });
});

test("without Python that is said, and what to do", () => {
  const { status, stderr } = run([], { PATH: folder, COGWHEEL_REFERENCE_VENV: join(folder, "other") });
  expect(status).toBe(1);
  expect(stderr).toBe(
    "[reference] Python 3.11 or later must be installed to make reference cases, " +
      "got none on PATH; install it, or name one in COGWHEEL_PYTHON\n",
  );
});

test("every package is pinned to one version", async () => {
  const lines = (await readFile(join(import.meta.dirname, "requirements.txt"), "utf8"))
    .split("\n")
    .filter((line) => line && !line.startsWith("#"));
  expect(lines.map((line) => line.split("==")[0])).toEqual(expect.arrayContaining(["torch", "diffusers", "transformers"]));
  for (const line of lines) expect(line).toMatch(/^[a-z0-9_-]+==\d+(\.\d+)+$/);
});
