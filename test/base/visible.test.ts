/** Text of strangers, as a terminal or a page may show it. */
import { describe, expect, it } from "vitest";
import { table } from "../../src/cli/terminal/table.ts";
import { Progress } from "../../src/cli/terminal/progress.ts";
import { CogwheelError } from "../../src/base/errors.ts";
import { systemComplaint, systemWords } from "../../src/platform/system-error.ts";
import { cut, shortened, visible, visibleJson } from "../../src/base/visible.ts";

// eslint-disable-next-line no-control-regex
const UNSEEN = /[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c\ufeff]/;

describe("visible", () => {
  it.each([
    ["a\x1b[31mred\x1b]0;owned\x07", "a\\x1b[31mred\\x1b]0;owned\\x07"],
    ["two\nlines\r\tx", "two\\nlines\\r\\tx"],
    ["c1 \x9b31m \x7f", "c1 \\x9b31m \\x7f"],
    ["gpj.\u202eexe\u2066", "gpj.\\u202eexe\\u2066"],
    ["tag \u{e0041} alone \ud800!", "tag \\u{e0041} alone \\ud800!"],
    ["Grüße 赤い円 👩‍🚀 नमस्ते", "Grüße 赤い円 👩‍🚀 नमस्ते"],
    ["C:\\n is a path", "C:\\n is a path"],
  ])("%j", (text, want) => {
    expect(visible(text)).toBe(want);
    expect(visible(visible(text))).toBe(want);
  });

  it("JSON keeps its value", () => {
    const value = { "\x7f\u202e\x9b": ["\n\x1b", "👩‍🚀", "\u{e0041}"] };
    const text = visibleJson(value, 2);
    expect(JSON.parse(text)).toEqual(value);
    expect(text.replaceAll("\n", "")).not.toMatch(UNSEEN);
  });
});

describe("what is long is cut in its middle", () => {
  it("a word, a line, a message", () => {
    expect(shortened("short")).toBe("short");
    const name = `w${"x".repeat(70_000)}y`;
    expect(shortened(`[lora] got ${name}; give another`)).toMatch(/^\[lora\] got wx{239}…\(69,643 characters\)…x{117,118}y; give another$/);
    const many = Array.from({ length: 9000 }, (_, i) => `weight${i}`).join(", ");
    const error = new CogwheelError("lora", `keys must be known, got ${many}; use another file`);
    expect(error.message.length).toBeLessThan(2100);
    expect(error.message).toMatch(/^\[lora\] keys must be known, got weight0, .*; use another file$/);
    expect(cut("ab", 4)).toBe("ab");
    expect(cut("👩👩👩👩👩👩👩👩👩👩👩", 10)).toBe("👩👩👩👩👩👩…(4 characters)…👩👩👩");
  });

  it("an error is one line, and those that it lists", () => {
    const error = new CogwheelError("x", "a\nb\x1b[2J", { lines: ["  one\n[x] two", "  three"], cause: 1 });
    expect(error.message).toBe("[x] a\\nb\\x1b[2J\n  one\\n[x] two\n  three");
    expect(error.cause).toBe(1);
  });

  it("tables, and what is drawn of a run", () => {
    const text = table(
      ["name", "n"],
      [
        ["a\x1b[31m\nb", "1"],
        ["z".repeat(70_000), "2"],
      ],
    );
    expect(text.split("\n").length).toBe(5);
    expect(text.length).toBeLessThan(1500);
    expect(text.replaceAll("\n", "")).not.toMatch(UNSEEN);
    let drawn = "";
    const progress = new Progress({ stream: { isTTY: false, write: (part: string) => (drawn += part) }, now: () => 0 });
    progress.note("[x] warned of \x1b[31m\u202e");
    const live = new Progress({ stream: { isTTY: true, columns: 200, write: (part: string) => (drawn += part) }, now: () => 0 });
    live.report("download", 0.5, "file\x1b[31m\nname");
    live[Symbol.dispose]();
    expect(drawn).toContain("warned of \\x1b[31m\\u202e\n");
    expect(drawn).toContain("file\\x1b[31m\\nname");
  });
});

it("what the system says is told in words", () => {
  expect(systemWords(Object.assign(new Error("x"), { code: "ENOSPC" }))).toBe("ENOSPC: no space left on the disk");
  expect(systemWords(new Error("plain"))).toBe("plain");
  expect(systemComplaint(Object.assign(new Error("x"), { code: "EMFILE", syscall: "open", path: "/a\nb" }))).toBe(
    "[system] open of /a\\nb must be possible, got EMFILE: " +
      "more open files than this process may have (see `ulimit -n`); raise the limit with `ulimit -n 1024`",
  );
  expect(systemComplaint(new TypeError("a bug"))).toBeUndefined();
});
