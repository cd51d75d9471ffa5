/** Reports to look at: of a run, and of a validation. Each is one file that needs nothing from elsewhere. */
import { execFile, execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { decode } from "fast-png";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { tiles } from "../../src/cli/report/treemap.ts";
import { heatMap, planeOf } from "../../src/cli/validate-report.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const run = promisify(execFile);
const cogwheel = (...args: string[]) => run(process.execPath, [join(ROOT, "dist/launch.js"), ...args], { cwd: folder });

let folder: string;
let model: string;
beforeAll(async () => {
  execFileSync(process.execPath, ["build.mjs", "--if-stale"], { cwd: ROOT });
  folder = await mkdtemp(join(tmpdir(), "cogwheel-report-"));
  model = await tinyCheckpoint();
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
  await removeTinyCheckpoints();
});

const page = async (name: string): Promise<string> => {
  const text = await readFile(join(folder, name), "utf8");
  expect(text, "one file").not.toMatch(/<script|<link|src="(?!data:)|href=|url\(/);
  return text;
};

describe("generate --report", () => {
  it("shows the clip, its settings, previews by step, time, memory, kernels and versions", async () => {
    await cogwheel(
      ...["generate", "--model", model, "--seed", "7", "--frames", "9", "--steps", "3"],
      ...["-o", "clip.gif", "--report", "run.html", "a <red> circle moving left"],
    );
    const text = await page("run.html");
    expect(text).toContain("<h1>a &lt;red&gt; circle moving left</h1>");
    expect(text).toMatch(/<img class="clip"[^>]* src="data:image\/gif;base64,R0lGOD/);
    const clip = /src="data:image\/gif;base64,([^"]+)"/.exec(text)![1]!;
    expect(Buffer.from(clip, "base64").equals(await readFile(join(folder, "clip.gif")))).toBe(true);
    expect([...text.matchAll(/<figcaption>(\d)<\/figcaption>/g)].map(([, step]) => step)).toEqual(["1", "2", "3"]);
    for (const stage of ["load text encoder", "encode prompt", "prepare preview", "load transformer", "denoise", "load decoder", "decode"])
      expect(text).toContain(`<title>${stage}: `);
    expect(text).toMatch(/<th>settings<\/th><td>3 \w+ steps, guidance [\d.]+, seed 7</);
    expect(text).toMatch(/<th>versions<\/th><td>cogwheel \d+\.\d+\.\d+, kernels \w+, node \d+/);
    expect(text).toMatch(/<g class="tile"><title>matmul\w* [^<]*: \d+ runs/);
    expect(text).toMatch(/<polyline/);
    expect(text, "a column of nothing, where no measurements are wanted").not.toContain("<th>expected</th>");
  });

  it("tells the seconds that were expected, on a machine's first run too", async () => {
    const env = { ...process.env, COGWHEEL_TUNING: undefined, XDG_CACHE_HOME: join(folder, "cache") };
    const args = ["--model", model, "--frames", "1", "--steps", "1", "-o", "first.png", "--report", "first.html", "a circle"];
    await run(process.execPath, [join(ROOT, "dist/launch.js"), "generate", ...args], { cwd: folder, env });
    expect(await page("first.html")).toMatch(/<th>expected<\/th>.*<td>text encoder<\/td>.*?<td>[\d.]+ s<\/td><\/tr>/s);
  }, 120_000);

  it("is refused before any work where it cannot be written, or would take a result's place", async () => {
    const refused = async (...args: string[]): Promise<string> =>
      await cogwheel("generate", "--model", model, ...args).then(
        () => "done",
        ({ stderr }: { stderr: string }) => stderr,
      );
    expect(await refused("-o", "a.gif", "--report", "a.gif", "a cat")).toContain("--report");
    expect(await refused("--report", ".", "a cat")).toMatch(/must|folder|directory/);
    expect(await refused("--batch", "lines.jsonl", "--report", "r.html")).toContain("each line of a batch says its own report");
  });
});

describe("inspect --report", () => {
  it("shows the memory of each stage along its time, with the line of each limit", async () => {
    const { stdout } = await cogwheel("inspect", "--memory", "2MB,4GB", "--report", "inspect.html", "--json");
    const { limits } = JSON.parse(stdout) as { limits: { memoryBytes: number; fits: boolean; times?: unknown }[] };
    expect(limits.map(({ fits, times }) => [fits, times])).toEqual([
      [false, undefined],
      [true, undefined],
    ]);
    const text = await page("inspect.html");
    expect([...text.matchAll(/<h2>within ([\d.]+ \wB)<\/h2>/g)].map(([, limit]) => limit)).toEqual(["2.0 MB", "4.00 GB"]);
    expect(text).toMatch(/It does not fit:<\/strong> the [\w ]+ takes [\d.]+ MB, [\d.]+ MB too much/);
    expect(text).toMatch(/At most [\d.]+ MB, in the [\w ]+: it fits, /);
    for (const stage of ["text encoder", "transformer", "decoder"]) expect(text).toContain(`<title>${stage}, loading: weights `);
    // The line of what is little is drawn; what is far above everything is said.
    expect([...text.matchAll(/<line class="limit"/g)].length).toBe(1);
    expect(text).toContain("the limit: 4.00 GB, far above this picture");
    // Bars reach as high as the stages' peaks: the tallest is the peak of all.
    const [, first] = text.split("<h2>within");
    const rects = [...first!.matchAll(/<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"/g)].map((m) =>
      m.slice(1).map(Number),
    );
    const line = Number(/class="limit" x1="[\d.]+" x2="[\d.]+" y1="([\d.]+)"/.exec(first!)![1]);
    expect(Math.min(...rects.map(([, y]) => y!)), "above the line").toBeLessThan(line);
  }, 60_000);

  it("is refused before any work where it cannot be written", async () => {
    await expect(cogwheel("inspect", "--report", ".")).rejects.toMatchObject({ stderr: expect.stringContaining("--report") as string });
  });
});

describe("validate --report", () => {
  it("shows what cases came to, and the worst output beside the reference", async () => {
    const cases = ["apply_rotary_emb", "T5EncoderModel"].map((module) => join(ROOT, "test/reference/cases", module));
    await cogwheel("validate", ...cases, "--report", "validate.html");
    const text = await page("validate.html");
    expect(text).toMatch(/<h1>\d+ of \d+ reference cases pass<\/h1>/);
    expect(text).toMatch(/<th>unsupported<\/th><td>0<.*<th>cannot be run<\/th><td>0</s);
    expect(text).toContain("the worst output: ");
    expect([...text.matchAll(/<figcaption>(ours|reference|difference), up to ±\d/g)].map(([, what]) => what)).toEqual([
      "ours",
      "reference",
      "difference",
    ]);
    expect(text).toContain("<h2>all cases</h2>");
  });
});

describe("a treemap", () => {
  it("has areas that are shares, beside each other, within its frame", () => {
    const values = [500, 200, 100, 100, 60, 30, 9, 1, 0];
    const placed = tiles(
      values.map((value, i) => ({ name: `kernel ${i}`, value, title: "", group: "" })),
      400,
      250,
    );
    expect(placed.length).toBe(8);
    for (const [i, { item, x, y, width, height }] of placed.entries()) {
      expect(width * height).toBeCloseTo(item.value * 100, 5);
      expect(Math.min(x, y, 400.001 - x - width, 250.001 - y - height)).toBeGreaterThanOrEqual(0);
      for (const other of placed.slice(i + 1)) {
        const across = Math.min(x + width, other.x + other.width) - Math.max(x, other.x);
        const down = Math.min(y + height, other.y + other.height) - Math.max(y, other.y);
        expect(Math.min(across, down)).toBeLessThan(1e-6);
      }
    }
  });
});

describe("a heat map", () => {
  it("is of the plane with the largest difference", () => {
    expect(planeOf([2, 3, 4, 5], [1, 2, 3, 0])).toMatchObject({ offset: 100, rows: 4, columns: 5, words: "of it [1, 2, :, :]" });
    expect(planeOf([1, 12])).toMatchObject({ offset: 0, rows: 3, columns: 4 });
    expect(planeOf([7])).toMatchObject({ rows: 1, columns: 7 });
  });

  it("is white at 0, blue below, red above, and black where it is not finite; large ones keep what stands out", async () => {
    const small = decode(await heatMap(Float32Array.of(0, 1, -1, NaN), { rows: 2, columns: 2 }, 1));
    const pixel = ({ data, channels }: typeof small, i: number) => [...data.slice(i * channels, i * channels + 3)];
    expect([0, 1, 2, 3].map((i) => pixel(small, i))).toEqual([
      [255, 255, 255],
      [255, 0, 0],
      [0, 0, 255],
      [0, 0, 0],
    ]);
    const values = new Float32Array(1024 * 512);
    values[700 * 512 + 300] = -2;
    const large = decode(await heatMap(values, { rows: 1024, columns: 512 }, 2));
    expect([large.width, large.height]).toEqual([128, 256]);
    expect(pixel(large, 175 * 128 + 75)).toEqual([0, 0, 255]);
  });
});
