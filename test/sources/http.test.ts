/** A source behind a server: ranges, servers that answer otherwise, and what is tried again. */
import type { ServerResponse } from "node:http";
import { describe, expect, test } from "vitest";
import { httpSource } from "../../src/sources/http.ts";
import type { CheckpointSource } from "../../src/sources/source.ts";
import { address, answer, bytesOf, honest, useServedFiles } from "../support/served-files.ts";
import type { Answer } from "../support/served-files.ts";

useServedFiles();

describe("HTTP", () => {
  const PATH = "vae/config.json";
  const PLACE = `[checkpoint] ${PATH}: `;

  async function against(how: Answer, act: (source: CheckpointSource) => Promise<unknown>): Promise<Error | null> {
    answer(how);
    try {
      await using source = httpSource(address);
      return await act(source).then(
        () => null,
        (error: Error) => error,
      );
    } finally {
      answer(honest);
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

  test.each<[string, Answer, string]>([
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
    (answer: (response: ServerResponse) => void): Answer =>
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
      (date: string): Answer =>
      (request, response, content) => {
        const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range!)!.map(Number);
        response
          .writeHead(206, { "content-range": `bytes ${first}-${last}/10`, "last-modified": date })
          .end(content!.subarray(first, last! + 1));
      };
    const error = await against(dated("Mon, 01 Jan 2024 00:00:00 GMT"), async (source) => {
      await source.read(PATH, 0, 1);
      answer(dated("Mon, 01 Jan 2024 00:00:01 GMT"));
      await source.read(PATH, 1, 2);
    });
    expect(error?.message).toContain(
      "got 1 to 2 of 10 of version Mon, 01 Jan 2024 00:00:01 GMT instead of Mon, 01 Jan 2024 00:00:00 GMT; the file changed on the server",
    );
  });

  test("a read that is given up writes nothing more, and the others go on", async () => {
    let wait: (() => void) | undefined;
    answer((request, response, content) => {
      const [, first = "0", last = "0"] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
      if (last === "0" || first !== "0") return honest(request, response, content);
      response.writeHead(206, { "content-range": `bytes ${first}-${last}/${content!.length}`, etag: '"1"' });
      response.write(content!.subarray(0, 3));
      wait = () => response.end(content!.subarray(3, Number(last) + 1));
    });
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
      answer(honest);
    }
  });

  test("headers are sent, a signal stops", async () => {
    let seen: string | undefined;
    answer((request, response, content) => {
      seen = request.headers["x-key"] as string;
      honest(request, response, content);
    });
    const controller = new AbortController();
    await using source = httpSource(address, { headers: { "x-key": "k" }, signal: controller.signal });
    await source.read(PATH, 0, 1);
    expect(seen).toBe("k");
    answer(() => controller.abort(new Error("stopped by the user")));
    await expect(source.read(PATH, 0, 1)).rejects.toThrow("stopped by the user");
    answer(honest);
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
