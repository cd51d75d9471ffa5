import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { describe, expect, it } from "vitest";
import { duration, Progress, type ProgressMode } from "../../src/cli/terminal/progress.ts";
import { table } from "../../src/cli/terminal/table.ts";

describe("table", () => {
  it("aligns columns, figures to the right", () => {
    expect(
      table(
        ["name", "size", "note"],
        [
          ["a", "1.5 MB", "x"],
          ["longer", "12.0 MB", ""],
          ["é", "–", "none at all"],
        ],
      ),
    ).toBe(
      [
        "name       size  note",
        "──────  ───────  ───────────",
        "a        1.5 MB  x",
        "longer  12.0 MB",
        "é             –  none at all",
        "",
      ].join("\n"),
    );
    expect(table(["v"], [["1e-5"], ["3.25e+10"]])).toBe("v\n────────\n    1e-5\n3.25e+10\n".replace("v\n", "       v\n"));
    expect(table(["a", "b"], [])).toBe("a  b\n─  ─\n");
  });
});

function recorded({ isTTY, columns = 80, mode = "bar" }: { isTTY: boolean; columns?: number; mode?: ProgressMode }) {
  let time = 0;
  let text = "";
  const progress = new Progress({ stream: { isTTY, columns, write: (part: string) => (text += part) }, now: () => time, mode });
  return { progress, text: () => text, at: (seconds: number) => (time = 1000 * seconds) };
}

describe("progress", () => {
  it("draws one line again on a terminal, with the time that is left", () => {
    const { progress, text, at } = recorded({ isTTY: true });
    for (let step = 0; step <= 10; step++) {
      at(step === 0 ? 0 : 20 + step); // 20 s of compilation, then a second a step
      progress.report("denoise", step / 10, `step ${step} of 10`);
    }
    const lines = text().split("\r");
    expect(lines.find((line) => line.includes("step 6 of 10"))).toMatch(
      /^denoise {12}━+╌+ {2} 60 % {2}4\.0 s left {2}step 6 of 10\x1b\[K$/,
    );
    expect(lines.find((line) => line.includes("step 8 of 10"))).toContain("2.0 s left");
    expect(text().endsWith("\r\x1b[Kdenoise            30 s\n")).toBe(true);
    for (const line of lines) expect([...line.replace(/\x1b\[K|\n/g, "")].length).toBeLessThan(80);
    expect(progress.seconds).toEqual({ denoise: 30 });
  });

  it("stays within a narrow terminal", () => {
    const { progress, text } = recorded({ isTTY: true, columns: 20 });
    progress.report("decode", 0.5, "frame 3 of 17, on its way");
    expect([...text().replace(/[\r]|\x1b\[K/g, "")].length).toBeLessThan(20);
    progress[Symbol.dispose]();
    expect(text().endsWith("\r\x1b[K")).toBe(true);
  });

  it("writes plain lines now and then elsewhere", () => {
    const { progress, text, at } = recorded({ isTTY: false });
    for (let step = 0; step <= 100; step++) {
      at(step);
      progress.report("denoise", step / 100);
    }
    progress.report("decode", 0);
    progress.note("a warning");
    at(104);
    progress.report("save", 0);
    at(104.5);
    progress.report("save", 1);
    // eslint-disable-next-line no-control-regex
    expect(text()).not.toMatch(/[\x00-\x09\x0b-\x1f]/);
    const lines = text().trim().split("\n");
    expect(lines[0]).toBe("denoise              15 %  1 min 25 s left");
    expect(lines.filter((line) => line.startsWith("denoise")).length).toBe(7);
    expect(lines.slice(-4)).toEqual(["denoise            1 min 40 s", "a warning", "decode             4.0 s", "save               0.5 s"]);
    expect(progress.seconds).toEqual({ denoise: 100, decode: 4, save: 0.5 });
  });

  it("writes an object a line for programs, or notes alone", () => {
    const { progress, text, at } = recorded({ isTTY: true, mode: "json" });
    for (let step = 0; step <= 4; step++) {
      at(step);
      progress.report("denoise", step / 4, step === 1 ? "a\nb" : "");
    }
    progress.say("for people");
    progress.note("a \x1b[31mwarning");
    expect(
      text()
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line) as unknown),
    ).toEqual([
      { stage: "denoise", done: 0 },
      { stage: "denoise", done: 0.25, detail: "a\\nb", secondsLeft: 3 },
      { stage: "denoise", done: 0.5, secondsLeft: 2 },
      { stage: "denoise", done: 0.75, secondsLeft: 1 },
      { stage: "denoise", done: 1, seconds: 4 },
      { note: "a \x1b[31mwarning" },
    ]);
    const quiet = recorded({ isTTY: true, mode: "none" });
    quiet.progress.report("denoise", 0.5);
    quiet.progress.report("denoise", 1);
    quiet.progress.say("for people");
    quiet.progress.note("a warning");
    expect(quiet.text()).toBe("a warning\n");
  });

  it("shows a stage once that is told to be over twice", () => {
    const { progress, text, at } = recorded({ isTTY: false });
    progress.report("write", 0.5);
    at(2);
    for (let i = 0; i < 3; i++) progress.report("write", 1);
    expect(text()).toBe("write              2.0 s\n");
    expect(progress.seconds).toEqual({ write: 2 });
  });

  it("says durations as people do", () => {
    expect([0.04, 8.26, 9.96, 59.94, 59.96, 125, 3599.6, 11220].map(duration)).toEqual([
      "0.0 s",
      "8.3 s",
      "10 s",
      "60 s",
      "1 min 00 s",
      "2 min 05 s",
      "1 h 00 min",
      "3 h 07 min",
    ]);
  });
});

describe.skipIf(process.platform === "win32")("Ctrl-C, and other signals that ask for an end", () => {
  async function interrupted(
    times: number,
    pause: number,
    signal: NodeJS.Signals = "SIGINT",
  ): Promise<{ code: number | null; out: string }> {
    const folder = mkdtempSync(join(tmpdir(), "cogwheel-interrupt-"));
    try {
      writeFileSync(
        join(folder, "run.ts"),
        `import { interruptible } from ${JSON.stringify(join(process.cwd(), "src/cli/terminal/interrupt.ts"))};
         const { signal } = interruptible((text) => console.log(text));
         signal.addEventListener("abort", () => setTimeout(() => { console.log("stopped"); process.exit(signal.reason.exitCode); }, 2000));
         setTimeout(() => process.exit(1), 20000); console.log("ready");`,
      );
      await build({
        entryPoints: [join(folder, "run.ts")],
        outfile: join(folder, "run.mjs"),
        bundle: true,
        format: "esm",
        platform: "node",
        logLevel: "warning",
      });
      const child = spawn(process.execPath, [join(folder, "run.mjs")]);
      let out = "";
      let sent = 0;
      const send = (): void => {
        child.kill(signal);
        if (++sent < times) setTimeout(send, pause);
      };
      child.stdout.on("data", (text: Buffer) => {
        if (sent === 0) send();
        out += text;
      });
      const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
      return { code, out };
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  it("lets the work stop", async () => {
    expect(await interrupted(1, 0)).toEqual({ code: 130, out: "ready\nStopping; once more stops at once.\nstopped\n" });
  });
  it("counts as one when it arrives twice", async () => {
    expect(await interrupted(2, 20)).toEqual({ code: 130, out: "ready\nStopping; once more stops at once.\nstopped\n" });
  });
  it.each([
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const)("%s lets it stop, with code %i; a second one ends at once", async (signal, code) => {
    expect(await interrupted(1, 0, signal)).toEqual({ code, out: "ready\nStopping; once more stops at once.\nstopped\n" });
    expect(await interrupted(2, 1250, signal)).toEqual({ code, out: "ready\nStopping; once more stops at once.\n" });
  });
  it("a closed terminal's signal comes from the terminal and from the shell", async () => {
    expect(await interrupted(2, 500, "SIGHUP")).toEqual({ code: 129, out: "ready\nStopping; once more stops at once.\nstopped\n" });
  });
  it("ends at once when pressed again", async () => {
    expect(await interrupted(2, 500)).toEqual({ code: 130, out: "ready\nStopping; once more stops at once.\n" });
  });
});
