import { mkdir, mkdtemp, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { filesSource } from "../../src/sources/picked.ts";
import { httpSource } from "../../src/sources/http.ts";
import { memorySource } from "../../src/sources/memory.ts";
import { folderSource } from "../../src/sources/folder.ts";
import { readAll, readJson, readText } from "../../src/sources/source.ts";
import type { CheckpointSource } from "../../src/sources/source.ts";

const FILES: Record<string, string> = {
  "model_index.json": '{"_class_name":"CogVideoXPipeline"}',
  "vae/config.json": "0123456789",
  "vae/a b#ü.txt": "odd name",
  empty: "",
};
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

let folder: string;
let server: Server;
let address: string;
/** How the server answers; a test may change it. */
let respond: (request: IncomingMessage, response: ServerResponse, content: Uint8Array | null) => void;

/** A server that honours ranges. */
function honest(request: IncomingMessage, response: ServerResponse, content: Uint8Array | null): void {
  if (!content) return void response.writeHead(404).end("not found");
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
  if (first === undefined) return void response.writeHead(200, { "content-length": content.length }).end(content);
  if (Number(first) >= content.length) {
    return void response.writeHead(416, { "content-range": `bytes */${content.length}` }).end();
  }
  const end = Math.min(Number(last) + 1, content.length);
  response.writeHead(206, { "content-range": `bytes ${first}-${end - 1}/${content.length}`, etag: '"1"' });
  response.end(content.subarray(Number(first), end));
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogwheel-source-"));
  await mkdir(join(folder, "vae"));
  for (const [path, text] of Object.entries(FILES)) await writeFile(join(folder, path), text);
  server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url!, "http://x").pathname.slice("/model/".length));
    const text = FILES[path];
    respond(request, response, text === undefined ? null : bytesOf(text));
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/model`;
  respond = honest;
});

afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true, force: true });
});

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

describe("HTTP", () => {
  const PATH = "vae/config.json";
  const PLACE = `[checkpoint] ${PATH}: `;

  async function against(answer: typeof respond, act: (source: CheckpointSource) => Promise<unknown>): Promise<Error | null> {
    respond = answer;
    try {
      await using source = httpSource(address);
      return await act(source).then(
        () => null,
        (error: Error) => error,
      );
    } finally {
      respond = honest;
    }
  }
  const read = (source: CheckpointSource): Promise<unknown> => source.read(PATH, 2, 5);

  test("a server without ranges is put up with for a small file", async () => {
    let whole = 0;
    const error = await against(
      (_, response, content) => {
        whole++;
        response.writeHead(200).end(content);
      },
      async (source) => {
        expect(new TextDecoder().decode(await source.read(PATH, 2, 5))).toBe("234");
        expect(await source.size(PATH)).toBe(10);
      },
    );
    expect(error).toBeNull();
    expect(whole).toBe(1);
  });

  test("a server without ranges is refused for a large file, declared or not", async () => {
    const declared = await against((_, response) => {
      response.writeHead(200, { "content-length": 2 ** 33 });
      response.write("x");
    }, read);
    expect(declared?.message).toBe(
      `${PLACE}the server must answer a Range request with 206, got 200 and the whole file of 8589934592 bytes; ` +
        `serve the checkpoint from a server that supports ranges, or download it and open the folder (in ${address}/)`,
    );
    const streamed = await against((_, response) => {
      response.writeHead(200);
      const more = (): void => void (response.writable && !response.destroyed && response.write(new Uint8Array(1 << 20), more));
      more();
    }, read);
    expect(streamed?.message).toContain("got 200 and the whole file of more than 8388608 bytes;");
  });

  test.each<[string, typeof respond, string]>([
    [
      "no Content-Range",
      (_, response) => response.writeHead(206).end("x"),
      "a 206 answer must carry Content-Range: bytes first-last/size, got none; " +
        "the server must send it and, to a browser on another origin, expose it",
    ],
    [
      "a Content-Range without a size",
      (_, response) => response.writeHead(206, { "content-range": "bytes 0-0/*" }).end("x"),
      "got bytes 0-0/*;",
    ],
    [
      "an error",
      (_, response) => response.writeHead(500).end(),
      "the server must answer 206, got 500 Internal Server Error; check the URL or try again later",
    ],
    [
      "a refusal",
      (_, response) => response.writeHead(403).end(),
      "the server must answer 206, got 403 Forbidden; pass the authorization in headers",
    ],
    ["no server", (request) => request.socket.destroy(), "the server must answer, got"],
  ])("%s", async (_, answer, message) => {
    const error = await against(answer, read);
    expect(error?.message).toContain(PLACE + (message.startsWith("got") ? "" : message));
    expect(error?.message).toContain(message);
  });

  /** Honest about the first byte, then as told. */
  const later =
    (answer: (response: ServerResponse) => void): typeof respond =>
    (request, response, content) =>
      request.headers.range === "bytes=0-0" ? honest(request, response, content) : answer(response);

  test.each<[string, (response: ServerResponse) => void, string]>([
    [
      "another range",
      (r) => r.writeHead(206, { "content-range": "bytes 0-2/10", etag: '"1"' }).end("012"),
      "the answer must hold bytes 2 to 5 of 10, got 0 to 3 of 10; the server or a proxy does not honour ranges, use another",
    ],
    [
      "another size",
      (r) => r.writeHead(206, { "content-range": "bytes 2-4/11", etag: '"1"' }).end("234"),
      "the answer must hold bytes 2 to 5 of 10, got 2 to 5 of 11; the file changed on the server, open the checkpoint again",
    ],
    [
      "another version",
      (r) => r.writeHead(206, { "content-range": "bytes 2-4/10", etag: '"2"' }).end("234"),
      'got 2 to 5 of 10 of version "2" instead of "1"; the file changed on the server',
    ],
    [
      "no bytes",
      (r) => r.writeHead(206, { "content-range": "bytes 2-4/10", etag: '"1"' }).end(),
      "the server must answer, got 0 of 3 bytes from 2 on; check the URL, the network",
    ],
    [
      "too many bytes",
      (r) => r.writeHead(206, { "content-range": "bytes 2-4/10", etag: '"1"' }).end("2345"),
      "the answer must hold 3 bytes, got more; the server or a proxy does not honour ranges, use another",
    ],
    [
      "packed bytes",
      (r) => r.writeHead(206, { "content-range": "bytes 2-4/10", etag: '"1"', "content-encoding": "gzip" }).end("234"),
      "a range must be sent as it is, got content-encoding gzip; switch the server's compression off for these files",
    ],
    [
      "a page",
      (r) => r.writeHead(206, { "content-range": "bytes 2-4/10", etag: '"1"', "content-type": "text/html; charset=utf-8" }).end("<ht"),
      "the server must send the file, got a web page in its place; a network's or a server's page to sign in answers for it",
    ],
    [
      "a broken connection",
      (r) => (
        r.writeHead(206, { "content-range": "bytes 2-4/10", etag: '"1"', "content-length": 3 }),
        r.flushHeaders(),
        setTimeout(() => r.destroy(), 20)
      ),
      "the server must answer, got other side closed within bytes 2 to 5; check the URL",
    ],
    [
      "200 after a 206",
      (r) => r.writeHead(200).end("0123456789"),
      "the server must answer every Range request with 206, got 200 after a 206;",
    ],
  ])("after the first answer: %s", async (_, answer, message) => {
    const error = await against(later(answer), read);
    expect(error?.message).toContain(message);
    expect(error?.message.startsWith(PLACE)).toBe(true);
  });

  test("what fails in passing is tried again, a broken answer gone on with", async () => {
    let calls = 0;
    const ranges: (string | undefined)[] = [];
    const error = await against(
      (request, response, content) => {
        ranges.push(request.headers.range);
        switch (calls++) {
          case 0:
            return void response.writeHead(503).end();
          case 1:
            return void request.socket.destroy();
          case 3:
            return void (response.writeHead(206, { "content-range": "bytes 2-7/10", etag: '"1"', "content-length": 6 }),
            response.write("234"),
            setTimeout(() => response.destroy(), 20));
          default:
            return honest(request, response, content);
        }
      },
      async (source) => {
        expect(await source.size(PATH)).toBe(10);
        expect(new TextDecoder().decode(await source.read(PATH, 2, 8))).toBe("234567");
      },
    );
    expect(error).toBeNull();
    expect(ranges).toEqual(["bytes=0-0", "bytes=0-0", "bytes=0-0", "bytes=2-7", "bytes=5-7"]);
  });

  test("a range that came whole is taken, whatever becomes of its answer's end", async () => {
    const ranges: (string | undefined)[] = [];
    const error = await against(
      (request, response, content) => {
        ranges.push(request.headers.range);
        if (ranges.length === 1) return honest(request, response, content);
        // In chunks, so that no length says that it is whole.
        response.writeHead(206, { "content-range": "bytes 2-7/10", etag: '"1"' }).write("234567");
        setTimeout(() => response.destroy(), 50);
      },
      async (source) => expect(new TextDecoder().decode(await source.read(PATH, 2, 8))).toBe("234567"),
    );
    expect(error).toBeNull();
    expect(ranges).toEqual(["bytes=0-0", "bytes=2-7"]);
  });

  test("a file that changes between two ranges is noticed by its date where it has no ETag", async () => {
    const dated =
      (date: string): typeof respond =>
      (request, response, content) => {
        const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range!)!.map(Number);
        response
          .writeHead(206, { "content-range": `bytes ${first}-${last}/10`, "last-modified": date })
          .end(content!.subarray(first, last! + 1));
      };
    const error = await against(dated("Mon, 01 Jan 2024 00:00:00 GMT"), async (source) => {
      await source.read(PATH, 0, 1);
      respond = dated("Mon, 01 Jan 2024 00:00:01 GMT");
      await source.read(PATH, 1, 2);
    });
    expect(error?.message).toContain(
      "got 1 to 2 of 10 of version Mon, 01 Jan 2024 00:00:01 GMT instead of Mon, 01 Jan 2024 00:00:00 GMT; the file changed on the server",
    );
  });

  test("a read that is given up writes nothing more, and the others go on", async () => {
    let wait: (() => void) | undefined;
    respond = (request, response, content) => {
      const [, first = "0", last = "0"] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
      if (last === "0" || first !== "0") return honest(request, response, content);
      response.writeHead(206, { "content-range": `bytes ${first}-${last}/${content!.length}`, etag: '"1"' });
      response.write(content!.subarray(0, 3));
      wait = () => response.end(content!.subarray(3, Number(last) + 1));
    };
    try {
      await using source = httpSource(address);
      const memory = new Uint8Array(10);
      const controller = new AbortController();
      const given = source.read("vae/config.json", 0, 10, memory, controller.signal);
      const other = source.read("vae/config.json", 4, 10);
      while (memory[2] === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      controller.abort(new Error("enough"));
      await expect(given).rejects.toThrow("enough");
      wait!();
      expect(await other).toEqual(bytesOf("456789"));
      expect(memory).toEqual(Uint8Array.from([...bytesOf("012"), 0, 0, 0, 0, 0, 0, 0]));
    } finally {
      respond = honest;
    }
  });

  test("headers are sent, a signal stops", async () => {
    let seen: string | undefined;
    respond = (request, response, content) => {
      seen = request.headers["x-key"] as string;
      honest(request, response, content);
    };
    const controller = new AbortController();
    await using source = httpSource(address, { headers: { "x-key": "k" }, signal: controller.signal });
    await source.read(PATH, 0, 1);
    expect(seen).toBe("k");
    respond = () => controller.abort(new Error("stopped by the user"));
    await expect(source.read(PATH, 0, 1)).rejects.toThrow("stopped by the user");
    respond = honest;
  });

  test("what is no web address is refused", () => {
    expect(() => httpSource("models/x")).toThrow(
      '[checkpoint] an HTTP checkpoint must be an absolute URL, got "models/x"; write it with http:// or https://',
    );
    expect(() => httpSource("file:///models/x")).toThrow(
      "[checkpoint] an HTTP checkpoint must be at http: or https:, got file:; open a folder for files on this machine",
    );
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
