/** Files of a hub that are read where they lie. */
import { describe, expect, test } from "vitest";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.ts";
import { openSource as openInBrowser } from "../../src/hub/open-browser.ts";
import { openSource } from "../../src/hub/open-node.ts";
import { hubHttpSource } from "../../src/hub/ranges.ts";
import { ALL, exists, model, open, server, snapshot, useHub } from "../support/hub-cache.ts";
import { COMMIT, ID, NEEDED } from "../support/hub-checkpoint.ts";

useHub();

describe("read where it lies", () => {
  test("by ranges, from the revision's commit, nothing kept", async () => {
    await using checkpoint = await openCheckpoint(await openSource(ID, { hub: { download: false } }));
    expect(checkpoint.source.label).toBe(`${server.url}/${ID}/resolve/${COMMIT}/`);
    expect((await checkpoint.component("transformer").weights!.read("w", { rowStart: 599 })).bytes.length).toBe(1024);
    expect(server.sentOf()).toBeLessThan(ALL / 10);
    expect(await exists(model())).toBe(false);
  });

  test("from the cache where it is complete", async () => {
    await open();
    server.forget();
    await using source = await openSource(ID, { hub: { download: false } });
    expect(source.label).toBe(snapshot().replace(/\/$/, ""));
    expect(server.seen).toEqual([]);
  });

  test("as a browser does, with endpoint and token", async () => {
    server.repos[ID]!.token = "hf_right";
    await using source = await openInBrowser(ID, { hub: { endpoint: server.url, token: "hf_right" } });
    await using checkpoint = await openCheckpoint(source);
    expect(checkpoint.className).toBe("CogVideoXPipeline");
    const authorizations = (at: string): Set<string | undefined> =>
      new Set(server.seen.filter((seen) => seen.at === at).map(({ authorization }) => authorization));
    expect(authorizations("hub")).toEqual(new Set(["Bearer hf_right"]));
    expect(authorizations("store")).toEqual(new Set([undefined]));
    await expect(hubHttpSource({ name: ID, revision: "nowhere" }, { endpoint: server.url, token: "hf_right" })).rejects.toThrow(
      "the revision must be in the repository",
    );
  });

  test("in a browser a folder beside the page wins", async () => {
    // The page's own address is a repository's, so that relative URLs are folders in it.
    Object.defineProperty(globalThis, "location", { value: { href: `${server.url}/${ID}/resolve/` }, configurable: true });
    try {
      server.repos[ID]!.revisions["main"]!.files["x/model_index.json"] = NEEDED["model_index.json"]!;
      const label = async (from: string): Promise<string> => {
        await using source = await openInBrowser(from, { hub: { endpoint: server.url } });
        return source.label;
      };
      expect(await label("main/x")).toBe(`${server.url}/${ID}/resolve/main/x/`);
      expect(await label(ID)).toBe(`${server.url}/${ID}/resolve/${COMMIT}/`);
      server.forget();
      expect(await label("main")).toBe(`${server.url}/${ID}/resolve/main/`);
      expect(server.seen).toEqual([]);
    } finally {
      delete (globalThis as { location?: unknown }).location;
    }
  });
});
