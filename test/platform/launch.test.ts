import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hasSwiftShader } from "../../src/platform/swiftshader.ts";
import { lavapipeManifest } from "../../src/platform/vulkan.ts";

// Under node_modules, so that the bundles find their packages.
mkdirSync("node_modules/.cache", { recursive: true });
const folder = mkdtempSync("node_modules/.cache/launch-test-");
const launcher = join(folder, "launch.js");
const script = (name: string): string => join(folder, `${name}.js`);

/** The environment of someone who starts the launcher by hand. */
const clean = { ...process.env };
for (const name of ["COGWHEEL_PROBED", "COGWHEEL_ADAPTER", "VK_DRIVER_FILES", "VK_ICD_FILENAMES", "LD_LIBRARY_PATH"]) delete clean[name];

function launch(args: string[], env: Record<string, string> = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [launcher, ...args], { env: { ...clean, ...env }, encoding: "utf8" });
  return { status, out: stdout.trim(), stderr };
}

beforeAll(async () => {
  writeFileSync(
    join(folder, "name.ts"),
    `import { requestGpuAdapter } from ${JSON.stringify(join(process.cwd(), "src/platform/node.ts"))};
     try {
       const { name, kind, advice } = await requestGpuAdapter();
       console.log(JSON.stringify({ name, kind, advice, args: process.argv.slice(2), parent: process.ppid }));
     } catch (error) { console.log(error.message); process.exitCode = 7; }`,
  );
  await build({
    entryPoints: ["src/cli/launch.ts", join(folder, "name.ts")],
    outdir: folder,
    entryNames: "[name]",
    bundle: true,
    format: "esm",
    platform: "node",
    packages: "external",
    logLevel: "warning",
  });
  writeFileSync(
    script("wait"),
    `process.on("SIGINT", () => { console.log("stopping"); setTimeout(() => process.exit(130), 100); });
     setTimeout(() => process.exit(1), 20000); console.log("ready " + process.pid);`,
  );
  writeFileSync(script("code"), "process.exit(Number(process.argv[2]));");
  writeFileSync(join(folder, "libvulkan.so.1"), ""); // a loader that cannot be opened
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const withSwiftShader = describe.skipIf(!hasSwiftShader());

withSwiftShader("the launcher, with SwiftShader from npm (x64 Linux)", () => {
  const noLoader = (): Record<string, string> => ({ LD_LIBRARY_PATH: join(process.cwd(), folder) });

  it("runs a script on the adapter that is named, with its arguments", () => {
    const { out, status } = launch(["--adapter", "swiftshader", "--exec", script("name"), "a", "b c"]);
    expect(JSON.parse(out)).toMatchObject({ name: expect.stringContaining("SwiftShader"), kind: "software", args: ["a", "b c"] });
    expect(JSON.parse(out).advice).toContain("lavapipe");
    expect(status).toBe(0);
  });

  it("takes the name from COGWHEEL_ADAPTER, and part of a description for a name", () => {
    expect(JSON.parse(launch(["--exec", script("name")], { COGWHEEL_ADAPTER: "swiftshader" }).out).name).toContain("SwiftShader");
    expect(JSON.parse(launch(["--adapter=subzero", "--exec", script("name")]).out).name).toContain("SwiftShader");
  });

  it("refuses an unknown name with the list of what is there", () => {
    const { out, status } = launch(["--adapter", "Voodoo2", "--exec", script("name")]);
    expect(out).toMatch(/^\[adapter\] --adapter must be .*got "Voodoo2", and this machine has: .*SwiftShader/);
    expect(status).toBe(7);
  });

  it("falls back to SwiftShader when the system's drivers are refused", () => {
    writeFileSync(
      join(folder, "broken.json"),
      JSON.stringify({ file_format_version: "1.0.0", ICD: { library_path: "./libnone.so", api_version: "1.0.0" } }),
    );
    const { out } = launch(["--exec", script("name")], {
      VK_DRIVER_FILES: join(process.cwd(), folder, "broken.json"),
      XDG_DATA_DIRS: "/nowhere",
    });
    expect(JSON.parse(out).name).toMatch(lavapipeManifest() ? /llvmpipe|SwiftShader/ : /SwiftShader/);
  });

  it("starts Node again where the system has no Vulkan loader, once", () => {
    const { out } = launch(["--exec", script("name")], noLoader());
    const found = JSON.parse(out) as { parent: number };
    expect(found.parent).not.toBe(process.pid);
    const named = JSON.parse(
      launch(["--adapter", "swiftshader", "--exec", launcher, "--adapter", "swiftshader", "--exec", script("name")], noLoader()).out,
    );
    expect(named.name).toContain("SwiftShader");
  });

  it("says what to install when a process that runs already lacks the loader", () => {
    const { stdout, status } = spawnSync(process.execPath, [script("name")], { env: { ...clean, ...noLoader() }, encoding: "utf8" });
    expect(stdout).toMatch(/no loader libvulkan\.so\.1.*npx cogwheel-webgpu --exec.*apt-get install libvulkan1.*dnf install.*pacman -S/);
    expect(status).toBe(7);
  });

  it("passes exit codes on", () => {
    expect(launch(["--exec", script("code"), "3"]).status).toBe(3);
    expect(launch(["--exec", script("code"), "4"], noLoader()).status).toBe(4);
    expect(launch(["--exec"]).status).toBe(2);
  });

  it.each([
    ["in one process", {}],
    ["started again", noLoader()],
  ])("gives a script its chance to stop, %s", async (_, env) => {
    const child = spawn(process.execPath, [launcher, "--adapter", "swiftshader", "--exec", script("wait")], {
      env: { ...clean, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let out = "";
    child.stdout.on("data", (text: Buffer) => {
      out += text;
      if (/ready \d+\n$/.test(out)) child.kill("SIGINT");
    });
    const code = await new Promise((resolve) => child.on("close", resolve));
    expect(out).toMatch(/ready \d+\nstopping\n/);
    expect(code).toBe(130);
  });
});

describe.skipIf(process.platform !== "linux")("too little of the system", () => {
  it("address space that no driver fits in is told of, before it ends the process without a word", () => {
    const limited = (kilobytes: number) =>
      spawnSync("bash", ["-c", `ulimit -v ${kilobytes}; exec "$0" "$@"`, process.execPath, launcher, "--exec", script("name")], {
        env: clean,
        encoding: "utf8",
      });
    const { status, stdout, stderr } = limited(1_900_000);
    expect(stdout.trim()).toMatch(
      /^\[adapter\] Dawn and a driver need 1\.2\d GB of address space, got [\d.]+ [MG]B left of a limit of 1\.9\d GB; raise it \(ulimit -v\)$/,
    );
    expect({ status, stderr }).toEqual({ status: 7, stderr: "" });
    // And an app that was not started by the launcher.
    const alone = spawnSync("bash", ["-c", `ulimit -v 1900000; exec "$0" "$@"`, process.execPath, script("name")], {
      env: clean,
      encoding: "utf8",
    });
    expect(alone.stdout).toMatch(/^\[adapter\] Dawn and a driver need/);
    // A limit that leaves enough is none.
    expect(JSON.parse(limited(40_000_000).stdout)).toMatchObject({ args: [] });
  });

  it("a child that a signal ends is told of with what that may mean", () => {
    writeFileSync(script("die"), "process.kill(process.pid, process.argv[2]);");
    // Without a loader Node is started again; here it is said that there is none.
    const again = { LD_LIBRARY_PATH: join(process.cwd(), folder) };
    for (const [signal, meaning, code] of [
      ["SIGKILL", "the system ends what takes too much memory", 137],
      ["SIGSEGV", "ran out of memory or address space", 139],
      ["SIGABRT", "ran out of memory, threads or address space", 134],
    ] as const) {
      const { status, stderr } = launch(["--adapter", "swiftshader", "--exec", script("die"), signal], again);
      expect(stderr).toContain(`[launch] the process must end by itself, got ${signal}: `);
      expect(stderr).toContain(meaning);
      expect(status).toBe(code);
    }
    expect(launch(["--adapter", "swiftshader", "--exec", script("die"), "SIGTERM"], again).stderr).not.toContain("[launch]");
  });
});
