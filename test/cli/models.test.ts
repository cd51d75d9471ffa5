/** `cogwheel models`, in a process of its own, against a hub on the loopback and an empty cache. */
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { modelNamed } from "../../src/cli/model-names.ts";
import { useCommand } from "../support/command.ts";
import { COMMIT, NEEDED } from "../support/hub-checkpoint.ts";
import { HubServer } from "../support/hub-server.ts";
import type { Ended } from "../support/watched.ts";

const { folder, run } = useCommand();
let server: HubServer;

beforeAll(async () => {
  server = await HubServer.start();
  for (const name of ["zai-org/CogVideoX-2b", "someone/Tuned"])
    server.repos[name] = { revisions: { main: { commit: COMMIT, files: NEEDED } } };
});
afterAll(() => server[Symbol.asyncDispose]());

/** No adapter is looked for: there is none of this name. */
const models = (...args: string[]): Promise<Ended> =>
  run(["models", ...args], {
    HF_ENDPOINT: server.url,
    HF_HUB_CACHE: join(folder, "hub"),
    HF_TOKEN: "",
    COGWHEEL_ADAPTER: "none such",
  });
interface Listed {
  models: { alias: string; id: string; bytes: number; cached: string; path: string | null }[];
  others: { id: string; path: string }[];
}

it("lists, pulls, tells where, and removes", async () => {
  const none = await models();
  expect(none.code, none.err).toBe(0);
  expect(none.out).toMatch(/^2b +zai-org\/CogVideoX-2b +text to video +13\.34 GB +Apache-2\.0 +no$/m);
  expect(none.out).toMatch(/^1\.5-5b-i2v +zai-org\/CogVideoX1\.5-5B-I2V +image to video +21\.10 GB/m);
  expect(server.seen, "nobody is asked").toEqual([]);
  expect(await models("path", "2b")).toMatchObject({
    code: 3,
    out: "",
    err: expect.stringMatching(
      /^\[hub\] zai-org\/CogVideoX-2b must be on this machine, got .*; `node \S+ models pull 2b` downloads what is missing$/m,
    ),
  });

  const pulled = await models("pull", "2b");
  expect(pulled.code, pulled.err).toBe(0);
  const place = pulled.out.trimEnd();
  expect(readFileSync(join(place, "model_index.json"))).toEqual(Buffer.from(NEEDED["model_index.json"]!));
  expect((await models("path", "2B")).out).toBe(pulled.out);
  expect((await models("pull", "someone/Tuned")).code).toBe(0);

  const listed = JSON.parse((await models("--json")).out) as Listed;
  expect(listed.models.map(({ alias, cached }) => [alias, cached])).toEqual([
    ["2b", "yes"],
    ["5b", "no"],
    ["5b-i2v", "no"],
    ["1.5-5b", "no"],
    ["1.5-5b-i2v", "no"],
  ]);
  expect(listed.models[0]).toMatchObject({ id: "zai-org/CogVideoX-2b", path: place });
  expect(listed.others).toEqual([expect.objectContaining({ id: "someone/Tuned" })]);

  const removed = await models("rm", "2b");
  expect([removed.code, removed.out]).toEqual([0, expect.stringMatching(/^zai-org\/CogVideoX-2b removed, \d\.\d MB freed\n$/)]);
  expect(existsSync(place)).toBe(false);
  expect(await models("rm", "2b")).toMatchObject({ code: 3, err: expect.stringContaining("must be in the cache, got none of that name") });
});

it("a name that is none is refused with those there are", async () => {
  for (const args of [
    ["pull", "7b"],
    ["path", "./folder"],
    ["rm", "2"],
  ])
    expect(await models(...args)).toMatchObject({
      code: 2,
      err: expect.stringMatching(/^\[cli\] a model must be 2b, 5b, 5b-i2v, .* got /),
    });
});

it("a short name is its repository, unless a folder is called so", () => {
  expect(modelNamed("5B-i2v")).toBe("zai-org/CogVideoX-5b-I2V");
  expect(modelNamed("a/b")).toBe("a/b");
  const here = process.cwd();
  process.chdir(folder);
  try {
    mkdirSync("5b");
    expect(modelNamed("5b")).toBe("5b");
  } finally {
    process.chdir(here);
  }
});
