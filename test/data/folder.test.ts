/** Folders of clips with captions. */
import { describe, expect, it } from "vitest";
import { filterRows, openClips } from "../../src/data/folder.ts";
import { memorySource } from "../../src/sources/memory.ts";

const line = (file: string, text: string, more: object = {}): string => JSON.stringify({ file_name: file, text, ...more });
const open = (files: Record<string, string>) => openClips(memorySource(files, "clips"));
const media = (...names: string[]): Record<string, string> => Object.fromEntries(names.map((name) => [name, "bytes"]));

describe("metadata.jsonl", () => {
  it("has a line a clip, with other columns; clips without one are told", async () => {
    const folder = await open({
      ...media("videos/a.mp4", "videos/b.webm", "c.png"),
      "metadata.jsonl":
        `\uFEFF${line("videos/a.mp4", "a red star", { scores: { motion: 0.5 } })}\r\n\n` + `${line("./c.png", "a blue circle")}\n`,
    });
    expect(folder.rows.map(({ file, caption }) => [file, caption])).toEqual([
      ["videos/a.mp4", "a red star"],
      ["c.png", "a blue circle"],
    ]);
    expect(folder.rows[0]!.columns["scores"]).toEqual({ motion: 0.5 });
    expect(folder.warnings).toEqual(["[data] 1 clip without a caption (videos/b.webm) in clips: left out"]);
    expect(new TextDecoder().decode(await folder.read("c.png"))).toBe("bytes");
  });

  it.each(["text", "caption", "prompt"])("takes captions from %s", async (name) => {
    const folder = await open({ ...media("a.gif"), "metadata.jsonl": JSON.stringify({ file_name: "a.gif", [name]: "words" }) });
    expect(folder.rows[0]!.caption).toBe("words");
  });

  it.each([
    ["without a clip", [line("a.mp4", "x"), line("b.mp4", "y")], "1 caption without a clip (b.mp4)"],
    ["twice", [line("a.mp4", "x"), line("a.mp4", "y")], "1 caption for one clip more than once (a.mp4)"],
    ["empty", [line("a.mp4", " ")], "1 caption empty (a.mp4)"],
    [
      "of many kinds",
      ["b", "c", "d", "e"].map((name) => line(`${name}.mp4`, "")),
      "4 captions without a clip (b.mp4, c.mp4, d.mp4, …); 4 captions empty (b.mp4, c.mp4, d.mp4, …); 1 clip without a caption (a.mp4)",
    ],
    ["none", [], "got none in clips and 1 clip without a caption (a.mp4)"],
    ["no JSON", ["{"], "line 1 of metadata.jsonl must be JSON"],
    ["without a name", [JSON.stringify({ text: "x" })], "line 1 of metadata.jsonl must name its clip in file_name, got none"],
    ["of a number", [JSON.stringify({ file_name: "a.mp4", text: 3 })], "must have a text in text, got 3"],
  ])("captions %s are refused with counts and names", async (_, lines, want) => {
    await expect(open({ ...media("a.mp4"), "metadata.jsonl": lines.join("\n") })).rejects.toThrow(want);
  });
});

describe("prompts.txt and videos.txt", () => {
  it("have a line each a clip", async () => {
    const folder = await open({ ...media("a.mp4", "b.mp4"), "prompts.txt": "one\ntwo\n", "videos.txt": "a.mp4\nb.mp4\n\n" });
    expect(folder.rows.map(({ file, caption }) => [file, caption])).toEqual([
      ["a.mp4", "one"],
      ["b.mp4", "two"],
    ]);
  });

  it("of other lengths are refused with both counts and the first line that is alone", async () => {
    await expect(open({ ...media("a.mp4"), "prompts.txt": "one\ntwo\nthree", "videos.txt": "a.mp4" })).rejects.toThrow(
      'got 3 captions and 1 clip; the first without a clip is line 2: "two"',
    );
  });
});

it("a folder without captions is told what it holds and what to write", async () => {
  await expect(open(media("a.mp4", "b.mp4", "notes.txt"))).rejects.toThrow(
    /got neither in clips, with 2 clips \(a.mp4, b.mp4\); write a line/,
  );
  await expect(openClips("/nowhere/at/all")).rejects.toThrow("the data must be a folder of clips, got none at /nowhere/at/all");
});

describe("filtering", () => {
  const rows = [1, 2, 3].map((n) => ({ file: `${n}.mp4`, caption: "x", columns: { n, "odd name": n % 2 } }));
  it("takes the rows that an expression takes", () => {
    expect(filterRows(rows, "n > 1 && `odd name` == 1").map(({ file }) => file)).toEqual(["3.mp4"]);
  });
  it("refuses columns that no row has, and taking none", () => {
    expect(() => filterRows(rows, "score > 1")).toThrow("got score; they have n, odd name");
    expect(() => filterRows(rows, "n > 5")).toThrow("got none of 3 by n > 5");
  });
});
