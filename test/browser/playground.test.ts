/** The playground as a visitor has it: built, served, in a real browser. Screenshots are kept in dist/screenshots. */
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { OPTION_LIST } from "../../src/pipelines/options/table.ts";
import { decodeVideo } from "../../src/video/decode.ts";
import { siteHeaders } from "../../web/headers.ts";
import { serveFolder } from "../../web/server.ts";
import { chatServer } from "../support/chat-server.ts";
import {
  browser,
  captionSays,
  chooseFolder,
  finished,
  folder,
  inWorker,
  open,
  ranged,
  ready,
  ROOT,
  set,
  SHOTS,
  text,
  told,
  usePlayground,
} from "../support/playground.ts";
import { tinyCheckpoint } from "../support/tiny-checkpoint.ts";

usePlayground();

/**
 * The longest task of the page's main thread in a trace, in milliseconds of that thread's own time: on two cores that a software GPU
 * fills, the clock on the wall would measure how long the thread waits for a core.
 */
function longestTask(trace: Buffer): number {
  interface Event {
    name: string;
    ph: string;
    pid: number;
    tid: number;
    dur?: number;
    tdur?: number;
    args: { name?: string };
  }
  const { traceEvents } = JSON.parse(trace.toString()) as { traceEvents: Event[] };
  const main = new Set(
    traceEvents.filter(({ name, args }) => name === "thread_name" && args.name === "CrRendererMain").map(({ pid, tid }) => `${pid}.${tid}`),
  );
  const tasks = traceEvents.filter(({ ph, pid, tid, tdur }) => ph === "X" && tdur !== undefined && main.has(`${pid}.${tid}`));
  expect(tasks.length, "tasks in the trace").toBeGreaterThan(100);
  return Math.max(...tasks.map(({ tdur }) => tdur! / 1000));
}

describe("making a video", () => {
  it("rewrites the prompt by a server that the visitor names, says so, and gives the visitor's words back", async () => {
    await using server = await chatServer({
      models: { data: [{ id: "writer" }] },
      model: "writer",
      answer: ({ index }) =>
        index ? { status: 401, body: { error: { message: "no such key" } } } : "A red circle moves slowly to the left.",
    });
    const { page, wrong } = await open();
    await ready(page);
    const told = () => text(page, "enhance-told");
    await page.click("#enhance-box summary");
    await page.click("#enhance");
    expect(await told()).toContain("Name the address of a server");
    await page.fill("#enhance-url", server.url);
    await page.fill("#enhance-key", "k-1");
    await page.click("#enhance");
    await page.waitForFunction(() => document.getElementById("enhance-told")!.textContent!.startsWith("Written by writer"));
    expect(await page.inputValue("#prompt")).toBe("A red circle moves slowly to the left.");
    expect(server.asked[0]!.headers.authorization).toBe("Bearer k-1");
    expect(JSON.stringify(server.asked[0]!.body)).toContain("a red circle moving left on a black background");
    await page.click("#enhance-undo");
    expect(await page.inputValue("#prompt")).toBe("a red circle moving left on a black background");
    await page.fill("#prompt", "a blue square");
    await page.click("#enhance");
    await page.waitForFunction(() => document.getElementById("enhance-told")!.textContent!.includes("401 no such key"));
    expect(await page.inputValue("#prompt")).toBe("a blue square");
    expect(wrong.filter((line) => !line.includes("401"))).toEqual([]);
    await page.close();
  });

  it("previews it, plays it, saves it, and shares it; the page always answers", async () => {
    const { page, wrong } = await open();
    await ready(page);
    expect(await text(page, "adapter")).toMatch(/swiftshader, on the CPU/i);
    await page.screenshot({ path: join(SHOTS, "playground-start.png"), fullPage: true });
    await browser.startTracing(page, { categories: ["toplevel", "disabled-by-default-devtools.timeline", "__metadata"] });
    await set(page, { steps: "4", frames: "9", seed: "1" });
    await page.click("#start");
    expect(await captionSays(page, "Preview after step 2 of 4")).toMatch(/s left, .* a step · \d+ MB of GPU memory/);
    expect(await text(page, "whole-told"), "of the whole, beside the stage").toMatch(/^\d+ % · about [\d.]+ s left$/);
    await finished(page);
    expect(longestTask(await browser.stopTracing()), "milliseconds of the page's own thread in its longest task").toBeLessThan(50);
    await page.screenshot({ path: join(SHOTS, "playground-done.png"), fullPage: true });
    await page.setViewportSize({ width: 390, height: 844 });
    await page.screenshot({ path: join(SHOTS, "playground-phone.png"), fullPage: true });
    expect(await page.evaluate(() => document.documentElement.scrollWidth), "nothing is wider than a phone").toBeLessThanOrEqual(390);
    expect(await text(page, "caption")).toMatch(/“a red circle moving left on a black background” · seed 1 · 64 × 64, 9 frames/);

    // It loops: the picture goes on changing, until it is told to stand still.
    const picture = () => page.locator("#canvas").evaluate((canvas) => (canvas as HTMLCanvasElement).toDataURL());
    const first = await picture();
    await page.waitForFunction((first) => (document.getElementById("canvas") as HTMLCanvasElement).toDataURL() !== first, first, {
      timeout: 10_000,
    });
    await page.click("#play");
    const still = await picture();
    await page.waitForTimeout(600);
    expect(await picture()).toBe(still);

    const [download] = await Promise.all([page.waitForEvent("download"), page.click("#save-mp4")]);
    expect(download.suggestedFilename()).toBe("a-red-circle-moving-left-on-a-black-background-1.mp4");
    const film = await decodeVideo(new Uint8Array(await readFile(await download.path())));
    expect([film.frames.length, film.width, film.height]).toEqual([9, 64, 64]);
    await set(page, { steps: "7", seed: "5" });
    const bytes = [...(await readFile(await download.path()))];
    await page.locator("#stage").evaluate((stage, bytes) => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([new Uint8Array(bytes)], "saved.mp4", { type: "video/mp4" }));
      stage.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
    }, bytes);
    await page.waitForFunction(() => document.getElementById("log")!.textContent!.includes("settings of saved.mp4"));
    for (const [id, value] of Object.entries({ steps: "4", seed: "1" })) expect(await page.inputValue(`#${id}`), id).toBe(value);

    await page.click("#share");
    await page.waitForFunction(() => document.getElementById("log")!.textContent!.includes("link is copied"));
    const link = await page.evaluate(() => navigator.clipboard.readText());
    expect(link).toContain("seed=1");
    expect(wrong).toEqual([]);
    await page.context().close();

    const other = await open(new URL(link).hash);
    await ready(other.page);
    for (const [id, value] of Object.entries({ steps: "4", frames: "9", seed: "1", width: "64" }))
      expect(await other.page.inputValue(`#${id}`), id).toBe(value);
    await other.page.context().close();
  }, 300_000);

  it("stops when it is told, and goes on to the same video", async () => {
    const { page, wrong } = await open();
    await ready(page);
    await set(page, { steps: "12", frames: "1", seed: "3" });
    await page.click("#start");
    await captionSays(page, "Preview after step 2");
    await page.click("#cancel");
    await page.waitForFunction(() => document.getElementById("outcome")!.textContent === "Stopped. Its steps so far are kept.");
    const [, step] = /^Go on from step (\d+)$/.exec(await text(page, "resume"))!;
    expect(await text(page, "caption"), "what there is of it stays").toBe(`Preview after step ${step} of 12`);
    // What is typed meanwhile is of the next one.
    await page.fill("#prompt", "a cyan square growing on a gray background");
    await page.click("#resume");
    await finished(page);
    expect(await text(page, "caption")).toContain("“a red circle moving left on a black background”");
    await page.fill("#prompt", "a red circle moving left on a black background");
    const resumed = await inWorker<number[]>(page, "[...cogwheel.video.frames[0].data]");
    await page.click("#start");
    await page.waitForSelector("#run:not([hidden])");
    await finished(page);
    expect(await inWorker<number[]>(page, "[...cogwheel.video.frames[0].data]")).toEqual(resumed);
    expect(wrong).toEqual([]);
    await page.context().close();
  }, 240_000);

  it("survives a device that is lost: the same video, and a word about it", async () => {
    const { page, wrong } = await open();
    await ready(page);
    await set(page, { steps: "8", frames: "1", seed: "3" });
    await page.click("#start");
    await captionSays(page, "Preview after step 2");
    await inWorker(page, "void cogwheel.open.model.gpu.device.destroy()");
    await finished(page);
    expect(await text(page, "log")).toMatch(/the GPU device was lost .*; it is opened again, and the generation goes on from step \d/);
    const survived = await inWorker<number[]>(page, "[...cogwheel.video.frames[0].data]");
    await page.click("#start");
    await page.waitForSelector("#run:not([hidden])");
    await finished(page);
    expect(await inWorker<number[]>(page, "[...cogwheel.video.frames[0].data]")).toEqual(survived);
    expect(wrong).toEqual([]);
    await page.context().close();
  }, 240_000);

  it("begins from a picture's or a video's file, for models that can, and says so for others", async () => {
    const { page } = await open();
    await ready(page);
    await set(page, { steps: "2", frames: "1", seed: "1" });
    await page.locator("#input").evaluate((input) => {
      (input.closest("details") as HTMLDetailsElement).open = true;
    });
    const png = await page.screenshot({ clip: { x: 0, y: 0, width: 100, height: 80 } });
    await page.setInputFiles("#input", { name: "from.png", mimeType: "image/png", buffer: png });
    await page.click("#start");
    await finished(page);
    await page.selectOption("#role", "image");
    await page.click("#start");
    await page.waitForSelector("#notice:not([hidden])");
    expect(await told(page)).toMatch(/this checkpoint makes videos from text.*got image/);
    expect(await page.isVisible("#save-mp4"), "the video before is there, with its buttons").toBe(true);
    expect(await text(page, "caption")).toContain("seed 1 ");
    // What a field says is wrong is told there too.
    await page.selectOption("#role", "video");
    await page.locator("#settings").evaluate((box) => {
      (box as HTMLDetailsElement).open = false;
    });
    await page.locator("#width").evaluate((input) => {
      (input as HTMLInputElement).value = "65";
    });
    await page.click("#start");
    await page.waitForSelector('#width[aria-invalid="true"]');
    expect(await page.evaluate(() => document.activeElement!.id)).toBe("width");
    expect(await page.isVisible("#width"), "what was folded is open").toBe(true);
    expect(await page.getAttribute("#width", "aria-describedby")).toBe("notice");
    expect(await page.locator("#notice").boundingBox(), "in the stage").toMatchObject({
      x: (await page.locator("#stage").boundingBox())!.x,
    });
    await page.fill("#width", "64");
    expect(await page.getAttribute("#width", "aria-invalid")).toBeNull();
    await page.context().close();
  }, 240_000);
});

describe("other models", () => {
  it("a folder, and a broken one with a word that a person can read", async () => {
    const { page, wrong } = await open();
    await ready(page);
    const tiny = await tinyCheckpoint();
    await chooseFolder(page, tiny);
    await page.waitForFunction(() => (document.getElementById("width") as HTMLInputElement).value === "32");
    await set(page, { steps: "2", frames: "1", seed: "1" });
    await page.click("#start");
    await finished(page);
    expect(await text(page, "caption")).toContain("32 × 16");

    const broken = await mkdtemp(join(tmpdir(), "cogwheel-broken-"));
    await cp(tiny, broken, { recursive: true });
    const file = join(broken, "transformer/diffusion_pytorch_model.safetensors");
    await writeFile(file, (await readFile(file)).subarray(0, 5000));
    await chooseFolder(page, broken);
    await page.waitForSelector("#notice:not([hidden])");
    expect(await text(page, "notice"), "in sentences").toMatch(
      /^transformer\/diffusion_pytorch_model\.safetensors: [^[]+ \(got data_offsets .*\)\.\s+The file is truncated.*\.\s+Details$/,
    );
    expect(await told(page)).toMatch(/\[checkpoint\] transformer\/diffusion_pytorch_model\.safetensors: .*; the file is truncated/);
    await page.screenshot({ path: join(SHOTS, "playground-broken.png"), fullPage: true });
    await rm(broken, { recursive: true });
    // It is still alive.
    await chooseFolder(page, tiny);
    await page.waitForSelector("#notice", { state: "hidden" });
    expect(wrong).toEqual([]);
    await page.context().close();
  }, 240_000);

  it("from another server, kept in the browser, opened again without the network, and removed", async () => {
    const tiny = await tinyCheckpoint();
    const server = await serveFolder(
      tiny,
      {},
      {
        headers: {
          "access-control-allow-origin": "*",
          "access-control-expose-headers": "content-range, etag",
          "access-control-allow-headers": "range",
        },
      },
    );
    const url = server.url.replace(/\/$/, "");
    const { page, wrong } = await open(`#${new URLSearchParams({ model: "url", url, steps: "2", frames: "1", seed: "5" }).toString()}`);
    expect(await page.inputValue("#url"), "a link names a model; it is opened by the visitor").toBe(url);
    expect(server.log).toEqual([]);
    await page.click("#start");
    await finished(page);
    const want = await inWorker<number[]>(page, "[...cogwheel.video.frames[0].data]");
    await server[Symbol.asyncDispose]();

    await page.reload();
    await page.locator("#model-box").evaluate((box) => {
      (box as HTMLDetailsElement).open = true;
    });
    await page.check(`input[value="stored:${url}"]`);
    await page.waitForFunction(() => (document.getElementById("width") as HTMLInputElement).value === "32");
    await set(page, { steps: "2", frames: "1", seed: "5" });
    await page.click("#start");
    await finished(page);
    expect(await inWorker<number[]>(page, "[...cogwheel.video.frames[0].data]")).toEqual(want);
    await page.click("#stored .row button");
    await page.waitForFunction(() => document.querySelectorAll("#stored .row").length === 0);
    expect(
      await inWorker<number>(
        page,
        "(async () => { const root = await (await navigator.storage.getDirectory()).getDirectoryHandle('cogwheel'); let n = 0; " +
          "for await (const _ of root.values()) n++; return n; })()",
      ),
    ).toBe(0);
    expect(wrong).toEqual([]);
    await page.context().close();
  }, 240_000);
});

describe("this GPU", () => {
  it("is checked by one button, and runs dropped reference cases, by keyboard alone", async () => {
    const { page, wrong } = await open();
    await ready(page);
    await page.focus("#tab-generate");
    await page.keyboard.press("End");
    expect(await page.getAttribute("#tab-gpu", "aria-selected")).toBe("true");
    expect(await text(page, "gpu-words")).toBe("google swiftshader: an adapter on the CPU, without arithmetic in 16 bits (f16).");
    await page.focus("#check-start");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#check-verdict:not([hidden])");
    const [, pass, of, share] = /^Right on google swiftshader: (\d+) of (\d+) .* the worst with (\d+) %/
      .exec(await text(page, "check-verdict"))!
      .map(Number);
    expect(pass).toBe(of);
    expect(of, "a case of every module").toBeGreaterThanOrEqual(20);
    expect(share).toBeLessThan(100);
    expect(await page.locator("#cases-table tbody tr").count(), "every output, folded away").toBeGreaterThan(of!);
    expect(await page.isVisible("#cases-table")).toBe(false);
    await page.locator("#panel-gpu details").evaluateAll((all) => {
      for (const one of all) (one as HTMLDetailsElement).open = true;
    });
    expect(await page.locator("#cases-all .scroll").evaluate((box) => box.scrollWidth - box.clientWidth), "figures are seen").toBe(0);
    const [words, button] = [page.locator("#cases-drop p"), page.locator("#cases-drop .button")].map((one) => one.boundingBox());
    expect((await button)!.y, "below the words").toBeGreaterThanOrEqual((await words)!.y + (await words)!.height);
    const cases = join(ROOT, "test/reference/cases");
    const [first] = await readdir(join(cases, "torch.randn"));
    await page.setInputFiles("#cases", [
      { name: first!, mimeType: "application/octet-stream", buffer: await readFile(join(cases, "torch.randn", first!)) },
      { name: "broken.safetensors", mimeType: "application/octet-stream", buffer: Buffer.from("not a case") },
    ]);
    await page.waitForFunction(() => document.getElementById("cases-doing")!.textContent!.includes("1 of 2 pass"));
    expect(await text(page, "cases-table")).toMatch(/torch\.randn[\s\S]*pass[\s\S]*broken[\s\S]*cannot be run: /);
    await page.screenshot({ path: join(SHOTS, "playground-check.png"), fullPage: true });
    expect(wrong).toEqual([]);
    await page.context().close();

    // A case that did not come is no wrong result.
    const without = await open("", {
      serviceWorkers: "block",
      prepare: (page) => page.route("**/cases/**", (route) => route.fulfill({ status: 503 })),
    });
    await ready(without.page);
    await without.page.click("#tab-gpu");
    await without.page.click("#check-start");
    await without.page.waitForSelector("#notice:not([hidden])");
    expect(await told(without.page)).toMatch(/own server must send its cases.*got status 503 for /s);
    expect(await without.page.isHidden("#check-verdict")).toBe(true);
    await without.page.context().close();
  }, 180_000);
});

describe("the benchmark", () => {
  it("checks, measures, draws, and gives a report to copy", async () => {
    const { page, wrong } = await open();
    await ready(page);
    await page.click("#tab-gpu");
    await page.click("#bench-start");
    await page.waitForSelector("#bench-copy:not([hidden])", { timeout: 240_000 });
    await page.screenshot({ path: join(SHOTS, "playground-benchmark.png"), fullPage: true });
    await page.click("#bench-copy");
    await page.waitForFunction(() => document.getElementById("bench-doing")!.textContent === "The report is copied.");
    const report = JSON.parse(await page.evaluate(() => navigator.clipboard.readText())) as {
      adapter: string;
      ceilings: Record<string, number>;
      rows: { name: string; failed?: string; attainable?: number }[];
    };
    expect(report.adapter).toMatch(/swiftshader/i);
    expect(report.ceilings["f32"]).toBeGreaterThan(0.1);
    expect(report.rows.filter(({ failed }) => failed)).toEqual([]);
    expect(report.rows.length).toBeGreaterThan(4);
    for (const { name, attainable } of report.rows) expect(attainable, name).toBeGreaterThan(0);
    expect(await page.locator("#bench-chart circle").count()).toBe(report.rows.length);
    const sides = (cells: string) => page.locator(cells).evaluateAll((all) => all.map((cell) => getComputedStyle(cell).textAlign));
    const heads = await sides("#bench-table th");
    expect(heads, "figures stand below their heads").toEqual(await sides("#bench-table tbody tr:first-child td"));
    expect(heads.slice(0, 3)).toEqual(["left", "left", "right"]);
    expect(wrong).toEqual([]);
    await page.context().close();
  }, 300_000);
});

describe("the form", () => {
  it("has a control for every option that the table shows, with its label, range and choices", async () => {
    const { page } = await open("#strength=0.1&steps=7&scheduler=dpm");
    for (const [name, { values, page: shown, fallback }] of OPTION_LIST) {
      // The prompt and how many videos it is to make have controls of their own.
      if (!shown) expect(await page.locator(`[name="${name}"]:not(#prompt, #samples)`).count(), name).toBe(0);
      else if (shown.at === "role") expect(await page.locator(`#role option[value="${name}"]`).textContent()).toBe(shown.label);
      else {
        const control = page.locator(`#${shown.at}-options #${name}`);
        expect(await page.locator(`label[for="${name}"]`).textContent()).toContain(shown.label);
        const made = await control.evaluate((input: HTMLInputElement | HTMLSelectElement) =>
          "options" in input ? [...input.options].map(({ value }) => value) : [input.type, input.max, input.defaultValue || input.value],
        );
        if (shown.listed) expect(made, "none before a model is open").toEqual([]);
        else if (values.kind === "choice") expect(made).toEqual(Object.keys(values.choices!));
        else if (values.kind === "number") expect(made.slice(0, 2), name).toEqual(["number", ranged(values.max)]);
        else expect(made[0], name).toBe(values.kind === "switch" ? "checkbox" : "text");
        if (fallback !== undefined) expect(await control.inputValue(), "a link does not set what goes with a file").toBe(String(fallback));
      }
    }
    expect(await page.inputValue("#role"), "what checkpoints for text begin from").toBe("video");
    expect([await page.inputValue("#steps"), await page.inputValue("#scheduler")]).toEqual(["7", "dpm"]);
    await page.context().close();
  }, 60_000);
});

describe("what a browser may lack or add", () => {
  it("says what to do without WebGPU", async () => {
    const { page, wrong } = await open("", {
      prepare: (page) => page.addInitScript("Object.defineProperty(Navigator.prototype, 'gpu', { value: undefined })"),
    });
    expect(await told(page)).toBe("This browser has no WebGPU, so nothing can be computed here.");
    expect(await text(page, "about"), "what it is, and what it needs").toMatch(
      /^Videos from a sentence[\s\S]*runs CogVideoX in a tab[\s\S]*needs Chrome or Edge 113, Safari 26 or Firefox 141 or newer/,
    );
    expect(await page.isDisabled("#start")).toBe(true);
    expect(await page.isVisible('[role="tablist"]'), "nothing that cannot be used").toBe(false);
    await page.waitForSelector("#sample-play:not([hidden])");
    await page.screenshot({ path: join(SHOTS, "playground-no-webgpu.png"), fullPage: true });
    expect(wrong).toEqual([]);
    await page.context().close();
  });

  it("does without what Firefox or Safari may not have, and says so where that is asked for", async () => {
    const { page, wrong } = await open("", {
      prepare: (page) =>
        page.addInitScript(
          "for (const name of ['VideoEncoder', 'Notification']) delete globalThis[name]; " +
            "for (const name of ['wakeLock', 'serviceWorker']) Object.defineProperty(Navigator.prototype, name, { value: undefined });",
        ),
    });
    await ready(page);
    await set(page, { steps: "1", frames: "1" });
    await page.click("#start");
    await page.waitForSelector("#run:not([hidden])");
    expect(await page.isVisible("#notify"), "nothing that cannot be had is offered").toBe(false);
    await finished(page);
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("#save-mp4")]);
    expect(download.suggestedFilename()).toMatch(/\.gif$/);
    expect(await text(page, "outcome")).toBe("This browser cannot write MP4: it is saved as GIF.");
    expect(wrong).toEqual([]);
    await page.context().close();
  }, 120_000);

  it("works isolated from other origins too", async () => {
    const isolated = await serveFolder(folder, {}, { headers: await siteHeaders(join(ROOT, "dist/web"), { isolate: true }) });
    const { page, wrong } = await open("", { url: isolated.url });
    await ready(page);
    expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
    await set(page, { steps: "1", frames: "1", seed: "1" });
    await page.click("#start");
    await finished(page);
    expect(wrong).toEqual([]);
    await page.context().close();
    await isolated[Symbol.asyncDispose]();
  }, 180_000);
});
