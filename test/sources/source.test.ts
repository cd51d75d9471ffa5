/** Every kind of source gives the same of the same files; folders, and what a browser picks. */
import { mkdtemp, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { folderSource } from "../../src/sources/folder.ts";
import { httpSource } from "../../src/sources/http.ts";
import { memorySource } from "../../src/sources/memory.ts";
import { filesSource } from "../../src/sources/picked.ts";
import { readAll, readJson, readText } from "../../src/sources/source.ts";
import type { CheckpointSource } from "../../src/sources/source.ts";
import { FILES, address, bytesOf, folder, useServedFiles } from "../support/served-files.ts";

useServedFiles();

function file(path: string, text: string): File {
  const made = new File([bytesOf(text) as BlobPart], path.split("/").at(-1)!);
  Object.defineProperty(made, "webkitRelativePath", { value: path });
  return made;
}

/** As much of a directory handle as a source uses, over a flat list of files. */
function handle(name: string, files: Record<string, string>): FileSystemDirectoryHandle {
  const inside = (part: string): Record<string, string> =>
    Object.fromEntries(
      Object.entries(files)
        .filter(([path]) => path.startsWith(`${part}/`))
        .map(([path, text]) => [path.slice(part.length + 1), text]),
    );
  const absent = (): never => {
    throw new DOMException("no", "NotFoundError");
  };
  const self = {
    kind: "directory",
    name,
    getDirectoryHandle: async (part: string) => (Object.keys(inside(part)).length ? handle(part, inside(part)) : absent()),
    getFileHandle: async (part: string) =>
      files[part] === undefined ? absent() : { kind: "file", getFile: async () => new File([bytesOf(files[part]!) as BlobPart], part) },
    async *entries() {
      for (const part of new Set(Object.keys(files).map((path) => path.split("/")[0]!))) {
        yield [part, files[part] === undefined ? await self.getDirectoryHandle(part) : await self.getFileHandle(part)];
      }
    },
  };
  return self as unknown as FileSystemDirectoryHandle;
}

const kinds: [string, () => Promise<CheckpointSource>][] = [
  ["folder", () => folderSource(folder)],
  ["memory", async () => memorySource(new Map(Object.entries(FILES)))],
  ["HTTP", async () => httpSource(address)],
  ["picked files", async () => filesSource(Object.entries(FILES).map(([path, text]) => file(`my-model/${path}`, text)))],
  ["directory handle", async () => filesSource(handle("my-model", FILES))],
];

describe.each(kinds)("a source: %s", (kind, make) => {
  test("reads ranges, sizes and whole files", async () => {
    await using source = await make();
    const bytes = await source.read("vae/config.json", 2, 5);
    expect(new TextDecoder().decode(bytes)).toBe("234");
    expect(bytes.byteOffset).toBe(0);
    expect(bytes.buffer.byteLength).toBe(3);
    expect((await source.read("vae/config.json", 4, 4)).length).toBe(0);
    expect(await source.size("vae/config.json")).toBe(10);
    expect(await source.exists("vae/config.json")).toBe(true);
    expect(await source.exists("vae/nothing.json")).toBe(false);
    expect(await source.exists("nowhere/config.json")).toBe(false);
    expect(await source.exists("vae")).toBe(false);
    expect(await source.size("empty")).toBe(0);
    expect((await readAll(source, "empty")).length).toBe(0);
    expect(await readText(source, "vae/a b#ü.txt")).toBe("odd name");
    expect(await readJson(source, "model_index.json")).toEqual({ _class_name: "CogVideoXPipeline" });
  });

  test("reads into memory that is given, and into nothing else of it", async () => {
    await using source = await make();
    const memory = new Uint8Array(64).fill(255);
    for (const [start, end] of [
      [2, 7],
      [0, 10],
      [4, 4],
    ] as const) {
      memory.fill(255);
      const got = await source.read("vae/config.json", start, end, memory.subarray(16, 48));
      expect(got).toEqual(bytesOf("0123456789".slice(start, end)));
      // A server that sent the file whole gives what it keeps.
      if (got.buffer === memory.buffer) expect(got.byteOffset).toBe(16);
      const mine = memory.subarray(16, 16 + got.length);
      if (got.buffer === memory.buffer) expect(mine).toEqual(got);
      expect([...memory.subarray(0, 16), ...memory.subarray(16 + got.length)].every((byte) => byte === 255)).toBe(true);
    }
    // Too little of it is as none.
    expect(await source.read("vae/config.json", 0, 10, new Uint8Array(4))).toEqual(bytesOf("0123456789"));
  });

  test("lists its files by path, or says that it cannot", async () => {
    await using source = await make();
    if (kind === "HTTP") {
      await expect(source.list()).rejects.toThrow(
        `[checkpoint] a listing must come from a folder or from files, got the HTTP source ${address}/; ask for files by their path`,
      );
    } else {
      expect(await source.list()).toEqual(
        Object.keys(FILES)
          .sort()
          .map((path) => ({ path, size: bytesOf(FILES[path]!).length })),
      );
    }
  });

  test("refuses a range outside the file, a missing file, a path that leaves the folder", async () => {
    await using source = await make();
    const where = `(in ${source.label})`;
    for (const [start, end] of [
      [0, 11],
      [-1, 2],
      [5, 4],
      [0.5, 1],
      [NaN, 2],
    ] as const) {
      await expect(source.read("vae/config.json", start, end)).rejects.toThrow(
        `[checkpoint] vae/config.json: a read must stay inside the file's 10 bytes, got bytes ${start} to ${end}; ` +
          `the file is truncated or was replaced, download it again ${where}`,
      );
    }
    const missing = `[checkpoint] vae/nothing.json: must exist, got no such file; check the folder or finish the download ${where}`;
    await expect(source.size("vae/nothing.json")).rejects.toThrow(missing);
    await expect(source.read("vae/nothing.json", 0, 1)).rejects.toThrow(missing);
    for (const path of ["../secret", "vae/../../secret", "/etc/passwd", "C:\\x", "a\\b", "", "a//b", "./a", "a\0b"]) {
      for (const act of [() => source.read(path, 0, 1), async () => source.exists(path), () => source.size(path)]) {
        await expect(act()).rejects.toThrow(
          `[checkpoint] ${JSON.stringify(path)}: a path must be relative and stay inside the checkpoint's folder, got this one; ` +
            "correct the file that names it",
        );
      }
    }
  });

  test("refuses text that is not UTF-8 or not a JSON object", async () => {
    await using source = await make();
    await expect(readJson(source, "vae/a b#ü.txt")).rejects.toThrow(
      '[checkpoint] vae/a b#ü.txt: must be JSON, got text that starts "odd name"; download the file again',
    );
    await expect(readJson(source, "vae/config.json")).rejects.toThrow("vae/config.json: must "); // a number, with a leading zero
  });

  test("refuses everything after dispose", async () => {
    const source = await make();
    await source.read("vae/config.json", 0, 1);
    await source[Symbol.asyncDispose]();
    await source[Symbol.asyncDispose]();
    const message = `[checkpoint] a source must not be used after dispose, got a read of ${source.label}; open it again`;
    await expect(source.read("vae/config.json", 0, 1)).rejects.toThrow(message);
    await expect(source.size("vae/config.json")).rejects.toThrow(message);
    await expect((async () => source.exists("vae/config.json"))()).rejects.toThrow(message);
  });
});

test("JSON that is no object, and text that is not UTF-8", async () => {
  const source = memorySource({ list: "[1]", none: "null", broken: Uint8Array.of(0xff) });
  await expect(readJson(source, "list")).rejects.toThrow("[checkpoint] list: must hold a JSON object, got a list; download the file again");
  await expect(readJson(source, "none")).rejects.toThrow("must hold a JSON object, got null;");
  await expect(readText(source, "broken")).rejects.toThrow(
    "[checkpoint] broken: must be UTF-8 text, got 1 bytes that are not; download the file again",
  );
});

test("a file too large to be read as a whole is refused before it is read", async () => {
  const source = { ...memorySource({ "config.json": "{}" }), size: async () => 2 ** 40 };
  await expect(readJson(source, "config.json")).rejects.toThrow(
    "[checkpoint] config.json: a JSON file may hold at most 33554432 bytes, got 1099511627776;",
  );
});

test("what a memory source gives out does not change what it holds", async () => {
  const source = memorySource({ a: Uint8Array.of(1, 2, 3) });
  (await source.read("a", 0, 3)).fill(9);
  expect([...(await source.read("a", 0, 3))]).toEqual([1, 2, 3]);
});

describe("folder", () => {
  test("what is no folder is refused", async () => {
    await expect(folderSource(join(folder, "nope"))).rejects.toThrow(
      `[checkpoint] ${join(folder, "nope")}: a checkpoint must be a folder, got nothing there; pass the folder that holds model_index.json`,
    );
    await expect(folderSource(join(folder, "empty"))).rejects.toThrow("a checkpoint must be a folder, got an empty file;");
  });

  test("a file that shrinks while it is open is an error, not zeros", async () => {
    const path = join(folder, "shrinks");
    await writeFile(path, "0123456789");
    await using source = await folderSource(folder);
    await source.read("shrinks", 0, 1);
    await truncate(path, 4);
    await expect(source.read("shrinks", 2, 10)).rejects.toThrow(
      "[checkpoint] shrinks: must keep its size while it is read, got the end of the file at byte 4 instead of 10; download it again",
    );
    await rm(path);
  });

  test("links are followed, links in circles end", async () => {
    const links = await mkdtemp(join(tmpdir(), "cogwheel-links-"));
    await symlink(join(folder, "vae"), join(links, "vae"));
    await symlink(links, join(links, "up"));
    await symlink(join(links, "nowhere"), join(links, "dangling"));
    await using source = await folderSource(links);
    expect((await source.list()).map(({ path }) => path)).toEqual(["vae/a b#ü.txt", "vae/config.json"]);
    expect(await source.size("vae/config.json")).toBe(10);
    await rm(links, { recursive: true });
  });

  test("many reads at once share one handle", async () => {
    await using source = await folderSource(folder);
    const parts = await Promise.all(Array.from({ length: 10 }, (_, i) => source.read("vae/config.json", i, i + 1)));
    expect(parts.map((part) => String.fromCharCode(part[0]!)).join("")).toBe("0123456789");
  });
});

describe("browser files", () => {
  test("are named after the folder; without one they are flat", async () => {
    expect(filesSource([file("my-model/a", "x")]).label).toBe("my-model");
    const flat = filesSource([new File(["x"], "a")], "drop");
    expect(flat.label).toBe("drop");
    expect(await flat.list()).toEqual([{ path: "a", size: 1 }]);
  });

  test("a handle that may not be read says so", async () => {
    const denied = {
      ...handle("m", {}),
      getFileHandle: async () => {
        throw new DOMException("denied", "NotAllowedError");
      },
    };
    await expect(filesSource(denied as unknown as FileSystemDirectoryHandle).size("a")).rejects.toThrow(
      "[checkpoint] a: must be readable, got NotAllowedError: denied; pick the folder again and allow reading",
    );
  });

  test("a file that changed after it was picked says so", async () => {
    const changed = file("m/a", "abc");
    changed.slice = () =>
      ({
        arrayBuffer: async () => {
          throw new DOMException("changed", "NotReadableError");
        },
      }) as unknown as Blob;
    await expect(filesSource([changed]).read("a", 0, 1)).rejects.toThrow(
      "[checkpoint] a: must not change while it is open, got NotReadableError: changed; pick the folder again",
    );
  });
});
