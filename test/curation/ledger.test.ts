/** The ledger: what was done is found by its key, and a process that is killed at any byte loses its last line at most. */
import { appendFile, mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CogwheelError } from "../../src/base/errors.ts";
import { clipId, resultKey } from "../../src/curation/ledger/key.ts";
import { fileLedgerStore } from "../../src/curation/ledger/ledger-node.ts";
import { Ledger, memoryLedgerStore, resultOfStage } from "../../src/curation/ledger/ledger.ts";
import type { LedgerStage } from "../../src/curation/types.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ledger-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

/** Doubles numbers, and counts how often. */
function doubling(by: number): LedgerStage<{ by: number }, number, number> & { runs: number } {
  return {
    name: "double",
    version: 1,
    params: { by },
    runs: 0,
    of: (n) => `n${n}`,
    parents: (n) => [String(n)],
    run(n) {
      this.runs++;
      if (n < 0) throw new CogwheelError("double", `a number must not be negative, got ${n}; negate it`);
      return Promise.resolve(n * by);
    },
  };
}

test("a key follows from version, parameters and parents, and not from the order of names", () => {
  expect(resultKey("a", 1, { x: 1, y: { z: 2, w: undefined } }, [])).toBe(resultKey("a", 1, { y: { z: 2 }, x: 1 }, []));
  const all = [resultKey("a", 1, {}, []), resultKey("a", 2, {}, []), resultKey("b", 1, {}, []), resultKey("a", 1, { x: 1 }, [])];
  expect(new Set([...all, resultKey("a", 1, {}, ["p"]), resultKey("a", 1, {}, ["p", "q"])]).size).toBe(6);
  expect(clipId("s", 0.1, 2)).toMatch(/^[0-9a-f]{16}$/);
  expect(clipId("s", 0.1, 2)).toBe(clipId("s", 0.1 + 1e-9, 2));
  expect(clipId("s", 0.1, 2)).not.toBe(clipId("s", 0.2, 2));
});

test("a result is made once, an error too, and another parameter makes another", async () => {
  const store = memoryLedgerStore();
  const ledger = await Ledger.open(store);
  const stage = doubling(2);
  expect((await resultOfStage(ledger, stage, 4)).value).toBe(8);
  expect((await resultOfStage(ledger, stage, 4)).value).toBe(8);
  expect((await resultOfStage(ledger, stage, -1)).error?.message).toBe("[double] a number must not be negative, got -1; negate it");
  await resultOfStage(ledger, stage, -1);
  expect(stage.runs).toBe(2);
  await ledger.flush();

  const again = await Ledger.open(store);
  await resultOfStage(again, stage, 4);
  expect(stage.runs).toBe(2);
  const other = doubling(3);
  expect((await resultOfStage(again, other, 4)).value).toBe(12);
  expect(other.runs).toBe(1);
  expect(again.of("n4").map(({ value }) => value)).toEqual([8, 12]);
});

test("an error that may pass is tried again", async () => {
  const ledger = await Ledger.open(memoryLedgerStore());
  const stage = doubling(2);
  stage.run = () => {
    stage.runs++;
    throw Object.assign(new CogwheelError("double", "there must be room, got none; make some"), { retry: true });
  };
  expect((await resultOfStage(ledger, stage, 1)).error?.retry).toBe(true);
  await resultOfStage(ledger, stage, 1);
  expect(stage.runs).toBe(2);
});

test("a file that was cut off at any byte has every line before it, and goes on", async () => {
  const path = join(folder, "ledger.jsonl");
  const line = (n: number): string => `${JSON.stringify({ stage: "a", key: `k${n}`, of: "é", value: n, ms: 0 })}\n`;
  const whole = line(1) + line(2) + line(3);
  const bytes = Buffer.from(whole);
  for (let size = 0; size <= bytes.length; size += 7) {
    await writeFile(path, bytes);
    await truncate(path, size);
    const ledger = await Ledger.open(fileLedgerStore(path));
    const there = [1, 2, 3].filter((n) => ledger.find(`k${n}`)).length;
    expect(there).toBe((bytes.subarray(0, size).toString("latin1").match(/\n/g) ?? []).length);
    ledger.append({ stage: "a", key: "new", of: "x", value: 9, ms: 0 });
    await ledger.flush();
    const after = await readFile(path, "utf8");
    expect(after).toBe(whole.slice(0, line(1).length * there) + '{"stage":"a","key":"new","of":"x","value":9,"ms":0}\n');
  }
});

test("a line that is none is counted, and the others hold; a folder in the way is told", async () => {
  const path = join(folder, "odd.jsonl");
  await writeFile(path, '{"stage":"a","key":"k1","of":"x","ms":0}\nnothing\n[1]\n');
  await appendFile(path, '{"stage":"a","key":"k2","of":"x","ms":0}\n');
  const ledger = await Ledger.open(fileLedgerStore(path));
  expect([ledger.broken, ledger.of("x").length]).toEqual([2, 2]);
  await expect(Ledger.open(fileLedgerStore(folder))).rejects.toThrow(/\[ledger\] .* must be readable, got EISDIR/);
});
