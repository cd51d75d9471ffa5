/** Tables of measurements: what they say, where they lie, when they hold. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readTuning, writeTuning } from "#platform";
import { Gpu, type OpenGpuOptions } from "../../src/gpu/gpu.ts";
import { parseTuning, tuningFile, tuningHeader, whyStale, type TuningTable } from "../../src/gpu/tuning-table.ts";
import { storeTuning } from "../../src/gpu/tuning-store.ts";
import { testGpu } from "../support/gpu.ts";

const KEY = "matmul m≤64 n=64 k=64 f32 f32 f32";
let cache: string;
const before = { XDG_CACHE_HOME: process.env["XDG_CACHE_HOME"], COGWHEEL_TUNING: process.env["COGWHEEL_TUNING"] };
beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), "cogwheel-tuning-"));
  process.env["XDG_CACHE_HOME"] = cache;
  delete process.env["COGWHEEL_TUNING"];
});
afterEach(() => {
  for (const [name, value] of Object.entries(before)) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
  rmSync(cache, { recursive: true, force: true });
});

const table = async (): Promise<TuningTable> => ({ ...(await testGpu()).tuningHeader, choices: { [KEY]: "tiled bm=64" } });

/** A second look at the test's own device, which takes no time. */
async function open(options: Partial<OpenGpuOptions> = {}): Promise<{ gpu: Gpu; warnings: string[] }> {
  const { device, caps } = await testGpu();
  const warnings: string[] = [];
  const { tuning: _, ...same } = caps;
  return { gpu: await Gpu.open({ device, capabilities: same, onWarning: (message) => warnings.push(message), ...options }), warnings };
}

describe("a table", () => {
  it("comes back from JSON as it was, by itself or in a report", async () => {
    const made = await table();
    expect(parseTuning(JSON.stringify(made))).toEqual(made);
    expect(parseTuning({ date: "2026-11-25", table: made })).toEqual(made);
  });

  it.each([
    ["{", "a tuning table must be JSON, got "],
    ["[]", "a tuning table must hold a JSON object, got a list"],
    ['{"format":2}', "a tuning table must have format 1, got 2"],
    ['{"format":1,"adapter":{"vendor":1}}', "a tuning table must name its adapter's vendor, architecture and device, got "],
    [
      '{"format":1,"adapter":{"vendor":"","architecture":"","device":""}}',
      "a tuning table must have driver, capabilities and kernels, got one without",
    ],
    [
      '{"format":1,"adapter":{"vendor":"","architecture":"","device":""},"driver":"","capabilities":"","kernels":"","choices":{"a":1}}',
      "a tuning table's choices must be variants by key, got ",
    ],
  ])("is not %s", (text, message) => {
    expect(() => parseTuning(text)).toThrow(`[tuning] ${message}`);
  });

  it("holds for its adapter, driver, capabilities and kernels", async () => {
    const { tuningHeader: here } = await testGpu();
    const made = await table();
    expect(whyStale(made, here)).toBeUndefined();
    expect(whyStale({ ...made, adapter: { ...made.adapter, device: "another" } }, here)).toMatch(
      /^it was measured on another adapter \(device "another"/,
    );
    expect(whyStale({ ...made, driver: "24.1" }, here)).toMatch(/^it was measured with another driver \("24.1"/);
    expect(whyStale({ ...made, kernels: "0123" }, here)).toMatch(/^it was measured with other kernels \(0123, here [0-9a-f]{12}\)$/);
    expect(whyStale({ ...made, capabilities: "0" }, here)).toBe("the adapter can do other things than when it was measured");
  });

  it("knows an adapter by what decides which kernels run", async () => {
    const { device, caps } = await testGpu();
    const header = (change: object) => tuningHeader(device.adapterInfo, { ...caps, ...change });
    expect(header({ timestamps: !caps.timestamps, immediates: !caps.immediates, tuning: { a: "b" } })).toEqual(header({}));
    expect(header({ maxWorkgroupBytes: 1 }).capabilities).not.toBe(header({}).capabilities);
    expect(tuningFile(header({ maxWorkgroupBytes: 1 }))).not.toBe(tuningFile(header({})));
    expect(tuningFile(header({}))).toMatch(/^[a-z0-9-]+-[0-9a-f]{8}\.json$/);
  });
});

describe("Gpu.open", () => {
  it("takes what was stored in the user's cache, and the folder that XDG_CACHE_HOME names", async () => {
    expect((await open()).gpu.tuning).toBeUndefined();
    const made = await table();
    const path = await writeTuning(tuningFile(made), JSON.stringify(made));
    expect(path).toBe(join(cache, "cogwheel/tuning", tuningFile(made)));
    const { gpu, warnings } = await open();
    expect(gpu.tuning).toEqual({ table: made, path });
    expect(gpu.caps.tuning).toEqual(made.choices);
    expect(warnings).toEqual([]);
    const without = await open({ tuning: false });
    expect([without.gpu.tuning, without.gpu.caps.tuning]).toEqual([undefined, undefined]);
  });

  it("takes an app's own table, and refuses one that is none", async () => {
    const made = await table();
    expect((await open({ tuning: made })).gpu.tuning).toEqual({ table: made, path: undefined });
    await expect(open({ tuning: {} as TuningTable })).rejects.toThrow("[tuning] a tuning table must have format 1");
    const { gpu, warnings } = await open({ tuning: { ...made, kernels: "old" } });
    expect(gpu.tuning).toBeUndefined();
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/^\[tuning\] the table is not used: it was measured with other kernels \(old, here /);
  });

  it.each<[string, (made: TuningTable) => string, RegExp]>([
    [
      "another driver's",
      (made) => JSON.stringify({ ...made, driver: "old" }),
      /^\[tuning\] \S+\.json is not used: it was measured with another driver \("old", here ".*"\); run `cogwheel tune` again$/,
    ],
    [
      "other kernels'",
      (made) => JSON.stringify({ ...made, kernels: "old" }),
      /^\[tuning\] \S+\.json is not used: it was measured with other kernels/,
    ],
    [
      "a broken",
      () => '{"format": 1, "adap',
      /^\[tuning\] \S+\.json is not used: a tuning table must be JSON, got .*; run `cogwheel tune` again$/,
    ],
  ])("leaves %s table out, with one line", async (_what, text, line) => {
    const made = await table();
    await writeTuning(tuningFile(made), text(made));
    const { gpu, warnings } = await open();
    expect(gpu.tuning).toBeUndefined();
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(line);
  });

  it.each<[string, (path: string, made: TuningTable) => void, RegExp]>([
    [
      "nests without end",
      (path, made) =>
        writeFileSync(path, JSON.stringify(made).replace('"choices":{', `"choices":{"deep":${"[".repeat(200_000)}${"]".repeat(200_000)},`)),
      /^\[tuning\] \S+\.json is not used: a tuning table must nest at most 64 deep, got deeper; run `cogwheel tune` again$/,
    ],
    [
      "is deep where its format must be",
      (path) => writeFileSync(path, `{"format":${"[".repeat(60)}${"]".repeat(60)}}`),
      /^\[tuning\] \S+ is not used: a tuning table must have format 1, got \[/,
    ],
    [
      "is huge",
      (path) => (writeFileSync(path, "{"), truncateSync(path, 3e9)),
      /^\[tuning\] \S+ must be a file that can be read, got 3000000000 bytes, where a table has at most 16777216; correct it, or take it away$/,
    ],
    [
      "is a folder",
      (path) => mkdirSync(join(path, "inner"), { recursive: true }),
      /^\[tuning\] \S+ must be a file that can be read, got a folder; /,
    ],
    ["is a list", (path) => writeFileSync(path, "[1]"), /a tuning table must hold a JSON object, got a list/],
    [
      "says a thing twice",
      (path, made) => writeFileSync(path, JSON.stringify(made).replace("{", '{"format":1,')),
      /must hold a name once in an object, got "format" twice/,
    ],
    [
      "is not text",
      (path) =>
        writeFileSync(
          path,
          Uint8Array.from({ length: 300 }, (_, i) => i & 255),
        ),
      /a tuning table must be JSON/,
    ],
  ])("a table that %s is left out with one line, and replaced by the next", async (_what, spoil, line) => {
    const made = await table();
    const path = join(cache, "cogwheel/tuning", tuningFile(made));
    mkdirSync(dirname(path), { recursive: true });
    spoil(path, made);
    const { gpu, warnings } = await open();
    expect(gpu.tuning).toBeUndefined();
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(line);
    expect(warnings[0]!.length).toBeLessThan(600);
    expect(await storeTuning(made)).toBe(path);
    expect((await open()).gpu.tuning).toEqual({ path, table: made });
    // What is not a table is moved aside, not removed.
    expect(readdirSync(dirname(path)).length).toBe(_what === "is a folder" ? 2 : 1);
  });

  it("takes an app's table that holds itself for what it is", async () => {
    const ring: Record<string, unknown> = {};
    ring["format"] = ring;
    await expect(open({ tuning: ring as unknown as TuningTable })).rejects.toThrow(
      "[tuning] a tuning table must have format 1, got an object; run `cogwheel tune` again",
    );
  });

  it.skipIf(!existsSync("/dev/zero"))("does not read an endless file", async () => {
    process.env["COGWHEEL_TUNING"] = "/dev/zero";
    expect((await open()).warnings).toEqual([
      "[tuning] COGWHEEL_TUNING=/dev/zero must be a file that can be read, got a device or pipe; correct it, or take it away",
    ]);
  });

  it("goes by COGWHEEL_TUNING: off, or a file", async () => {
    const made = await table();
    await writeTuning(tuningFile(made), JSON.stringify(made));
    process.env["COGWHEEL_TUNING"] = "off";
    expect((await open()).gpu.tuning).toBeUndefined();
    const file = join(cache, "mine.json");
    writeFileSync(file, JSON.stringify({ table: { ...made, choices: {} } }));
    process.env["COGWHEEL_TUNING"] = file;
    expect((await open()).gpu.tuning).toMatchObject({ path: file, table: { choices: {} } });
    process.env["COGWHEEL_TUNING"] = join(cache, "none.json");
    expect((await open()).warnings[0]).toMatch(/^\[tuning\] COGWHEEL_TUNING=\S+none\.json must be a file that can be read, got ENOENT/);
  });

  it("says where it could not store", async () => {
    writeFileSync(join(cache, "cogwheel"), "a file where a folder must be");
    await expect(writeTuning("x.json", "{}")).rejects.toThrow(
      /^\[tuning\] .*x\.json must be a place that can be written, got .*; set XDG_CACHE_HOME to a folder that can be$/,
    );
    expect(await readTuning("x.json")).toBeUndefined();
  });
});
