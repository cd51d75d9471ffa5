/** What every store of jobs promises, as tests that run against each of them. */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Change, JobBackend } from "../../src/jobs/backend.ts";
import { VALUE_BYTES } from "../../src/jobs/keys.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (value: Uint8Array | undefined): string | undefined => value && new TextDecoder().decode(value);

/** @param open another door to the same store each time */
export function backendContract(open: () => Promise<JobBackend>): void {
  let one: JobBackend;
  let other: JobBackend;
  beforeAll(async () => {
    one = await open();
    other = await open();
  });
  afterAll(async () => {
    await one?.[Symbol.asyncDispose]();
    await other?.[Symbol.asyncDispose]();
  });

  test("a value is written where its revision is as expected, and nowhere else", async () => {
    const { values } = one;
    expect(await values.get("job.a")).toBeUndefined();
    expect(await values.put("job.a", bytes("x"), 3), "no such revision").toBeUndefined();
    const first = await values.put("job.a", bytes("one"), 0);
    expect(first).toBeGreaterThan(0);
    expect(await values.put("job.a", bytes("again"), 0), "it is there").toBeUndefined();
    const second = await other.values.put("job.a", bytes("two"), first!);
    expect(second).toBeGreaterThan(first!);
    expect(await values.put("job.a", bytes("late"), first!), "another was faster").toBeUndefined();
    const found = await values.get("job.a");
    expect([text(found?.value), found?.revision]).toEqual(["two", second]);
    expect(await values.delete("job.a", first!)).toBe(false);
    expect(await values.delete("job.a", second!)).toBe(true);
    expect(await values.delete("job.a", second!)).toBe(false);
    expect(await values.get("job.a")).toBeUndefined();
    expect(await values.put("job.a", bytes("old"), second!), "a deleted one's revision").toBeUndefined();
    expect(await values.put("job.a", bytes("new"), 0)).toBeGreaterThan(second!);
    expect(text((await other.values.get("job.a"))?.value)).toBe("new");
    const empty = await values.put("job.empty", new Uint8Array(), 0);
    expect((await values.get("job.empty"))?.value.length, "an empty value is one").toBe(0);
    expect(await values.delete("job.empty", empty!)).toBe(true);
    expect(await values.delete("job.a", (await values.get("job.a"))!.revision)).toBe(true);
  });

  test("what need not outlive a loss of power is there for others at once, by the same rules", async () => {
    let revision = 0;
    for (const sync of ["unsynced", "ordered", "synced"] as const) {
      expect(await one.values.put("lease.a", bytes("another's"), revision + 1, sync)).toBeUndefined();
      const next = await one.values.put("lease.a", bytes(sync), revision, sync);
      expect(next).toBeGreaterThan(revision);
      expect([text((await other.values.get("lease.a"))?.value), (await other.values.get("lease.a"))?.revision]).toEqual([sync, next]);
      // What one has seen last is not the newest any more.
      revision = (await other.values.put("lease.a", bytes("other"), next!, sync))!;
      expect(await one.values.put("lease.a", bytes("late"), next!, sync), "another was faster").toBeUndefined();
      await one.blobs.put("state.b", bytes(sync), sync);
      expect(text(await other.blobs.get("state.b"))).toBe(sync);
    }
    expect(await one.values.delete("lease.a", revision, "unsynced")).toBe(true);
    expect(await other.values.get("lease.a")).toBeUndefined();
    await one.blobs.delete("state.b");
  });

  test("of many that write at once one gets through, each time", async () => {
    const add = async ({ values }: JobBackend): Promise<void> => {
      for (;;) {
        const found = await values.get("count");
        const next = String(Number(text(found?.value) ?? 0) + 1);
        if ((await values.put("count", bytes(next), found?.revision ?? 0)) !== undefined) return;
      }
    };
    await Promise.all(Array.from({ length: 6 }, (_, n) => Promise.all([add(n % 2 ? one : other), add(n % 2 ? one : other)])));
    expect(text((await one.values.get("count"))?.value)).toBe("12");
  });

  test("keys are listed by their beginning, in order, without deleted ones", async () => {
    for (const key of ["list.b", "list.a", "list.c", "listen.d"]) await one.values.put(key, bytes(key), 0);
    await one.values.delete("list.c", (await one.values.get("list.c"))!.revision);
    expect(await other.values.keys("list.")).toEqual(["list.a", "list.b"]);
    expect(await other.values.keys("none.")).toEqual([]);
  });

  test("who watches hears of changes of others, and of deletions", async () => {
    const controller = new AbortController();
    const heard: Change[] = [];
    const watching = (async () => {
      for await (const change of other.values.watch("seen.", controller.signal)) {
        heard.push(change);
        if (change.entry === undefined) controller.abort();
      }
    })();
    // Another one in the same process, which ends before.
    const ended = new AbortController();
    const once = (async () => {
      for await (const { key } of other.values.watch("seen.x", ended.signal)) {
        ended.abort();
        return key;
      }
    })();
    await new Promise((done) => setTimeout(done, 100));
    const first = (await one.values.put("seen.x", bytes("1"), 0))!;
    await one.values.put("unseen.x", bytes("1"), 0);
    await expect.poll(() => heard.length, { timeout: 3000 }).toBe(1);
    expect(await once).toBe("seen.x");
    const second = (await one.values.put("seen.x", bytes("2"), first))!;
    await expect.poll(() => heard.length, { timeout: 3000 }).toBe(2);
    await one.values.delete("seen.x", second);
    await watching;
    expect(heard.map(({ key, entry }) => [key, text(entry?.value)])).toEqual([
      ["seen.x", "1"],
      ["seen.x", "2"],
      ["seen.x", undefined],
    ]);
  });

  test("blobs of any size come back whole and in parts, and a put replaces all", async () => {
    const large = new Uint8Array(2_500_000).map((_, i) => i % 251);
    await one.blobs.put("state.a", large);
    expect(await other.blobs.size("state.a")).toBe(large.length);
    expect(Buffer.compare((await other.blobs.get("state.a"))!, large)).toBe(0);
    expect(await other.blobs.get("state.a", 999_999, 1_000_002)).toEqual(large.slice(999_999, 1_000_002));
    expect((await other.blobs.get("state.a", 2_499_999))?.length).toBe(1);
    expect((await other.blobs.get("state.a", 2_500_000))?.length).toBe(0);
    await other.blobs.put("state.a", bytes("small"));
    expect(text(await one.blobs.get("state.a"))).toBe("small");
    await one.blobs.put("state.empty", new Uint8Array());
    expect((await one.blobs.get("state.empty"))?.length).toBe(0);
    await one.blobs.delete("state.a");
    await one.blobs.delete("state.a");
    expect(await other.blobs.get("state.a")).toBeUndefined();
    expect(await other.blobs.size("state.a")).toBeUndefined();
  });

  test("a hint goes to one of those who wait, comes back when it is given back, and not when it is done", async () => {
    const signal = AbortSignal.timeout(10_000);
    const waiting = [one.hints.pull(signal), other.hints.pull(signal)];
    await one.hints.push("j1");
    await one.hints.push("j2");
    const both = await Promise.all(waiting);
    expect(both.map(({ job }) => job).sort()).toEqual(["j1", "j2"]);
    await both[0]!.working();
    await both[0]!.release(50);
    const again = await other.hints.pull(signal);
    expect(again.job).toBe(both[0]!.job);
    await again.done();
    await both[1]!.done();
    await expect(one.hints.pull(AbortSignal.timeout(300))).rejects.toThrow(/timeout/i);
  });

  test("a hint whose taker is gone is given again at once, and what the taker still says of it does no harm", async () => {
    await one.hints.push("j3");
    const taken = await one.hints.pull(AbortSignal.timeout(5000));
    await other.hints.push("j3", { lost: true });
    const again = await other.hints.pull(AbortSignal.timeout(5000));
    expect(again.job).toBe("j3");
    await taken.working();
    await taken.done();
    // What was given back meanwhile is not forgotten.
    await one.hints.push("j4");
    const other4 = await one.hints.pull(AbortSignal.timeout(5000));
    await other4.release(300);
    await other.hints.push("j3", { lost: true });
    const both = [await one.hints.pull(AbortSignal.timeout(5000)), await one.hints.pull(AbortSignal.timeout(5000))];
    expect(both.map(({ job }) => job).sort()).toEqual(["j3", "j4"]);
    for (const hint of [...both, again]) await hint.done();
  });

  test("the store's clock is told", async () => {
    const there = await one.now();
    expect(Math.abs(there - Date.now())).toBeLessThan(2000);
  });

  test("names that are none, and values that are too large, are refused", async () => {
    for (const key of ["", "a/b", "../x", "a..b", ".a", "a.", "a b", "ä", "a*", "x".repeat(201)]) {
      await expect(one.values.put(key, bytes("x"), 0), key).rejects.toThrow(/a key must be words of letters/);
      await expect(one.blobs.put(key, bytes("x")), key).rejects.toThrow(/name of a blob must be words/);
    }
    await expect(one.values.put("big", new Uint8Array(VALUE_BYTES + 1), 0)).rejects.toThrow(/1000000 bytes at most, got 1000001 for big/);
  });
}
