/** Jobs on a real nats-server: the contract, a server that is killed in the middle, one that is none, and what the queue costs. */
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { jetstream, jetstreamManager, StorageType } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { connect } from "@nats-io/transport-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openNats } from "../../src/jobs/nats-node.ts";
import { JobStore } from "../../src/jobs/store.ts";
import { freePort, natsServer, startCluster, startNats, type RunningNats } from "../support/nats-server.ts";
import { killLeader } from "./prove/leader.ts";
import { backendContract } from "./contract.ts";

const path = await natsServer();
const why = path instanceof Error ? path.message.split("\n")[0]! : "";

describe.skipIf(path instanceof Error)(
  `with a nats-server${why && ` (none could be had: ${why}; name one with COGWHEEL_NATS_SERVER)`}`,
  () => {
    let folder: string;
    let server: RunningNats;
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), "cogwheel-nats-"));
      server = await startNats(path as string, folder);
    });
    afterAll(async () => {
      await server?.[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    });

    backendContract(() => openNats(server.url));

    test("what a user without rights cannot know is told", async () => {
      const told: string[] = [];
      await using _ = await openNats(server.url, (message) => told.push(message));
      expect(told.join()).toMatch(/should write what it acknowledges at once, got one that does not say; set `sync_interval: always`/);
    });

    test("a server that says that it writes at once is not complained of, and a password stays out of names", async () => {
      const subject = "$SYS.REQ.SERVER.PING.JSZ";
      const accounts = `accounts {
      SYS { users: [{ user: s, password: s }], exports: [{ service: "${subject}" }] }
      APP { jetstream: enabled, users: [{ user: app, password: "p:w" }], imports: [{ service: { account: SYS, subject: "${subject}" } }] }
    }
    system_account: SYS`;
      await using other = await startNats(path as string, join(folder, "accounts"), accounts);
      const told: string[] = [];
      await using backend = await openNats(other.url.replace("//", "//app:p%3Aw@"), (message) => told.push(message));
      expect([told, backend.name]).toEqual([[], other.url]);
      await expect(openNats(other.url.replace("//", "//app:wrong@"))).rejects.toThrow(
        /must answer at nats:\/\/127\.0\.0\.1:\d+, got .*uthori/,
      );
    });

    test("streams and a bucket with other settings are refused, with what to delete", async () => {
      await using other = await startNats(path as string, join(folder, "others"));
      const connection = await connect({ servers: other.url });
      const js = jetstream(connection);
      const jsm = await jetstreamManager(connection);
      await new Kvm(js).create("cogwheel_jobs", { ttl: 10_000, storage: StorageType.Memory });
      const remedy = "or delete the streams cogwheel_blobs and cogwheel_hints and the bucket cogwheel_jobs";
      await expect(openNats(other.url)).rejects.toThrow(
        new RegExp(`streams the settings of this version, got a bucket cogwheel_jobs in memory that forgets after 10 s at .*${remedy}`),
      );
      await jsm.streams.delete("KV_cogwheel_jobs");
      await jsm.streams.add({ name: "cogwheel_blobs", subjects: ["cogwheel_blobs.>"], max_age: 5e9 });
      await expect(openNats(other.url)).rejects.toThrow(new RegExp(`stream name already in use with a different configuration.*${remedy}`));
      await connection.close();
    });

    test("hints of one job are one, however often it is hinted at", async () => {
      await using backend = await openNats(server.url);
      for (let n = 0; n < 5; n++) await backend.hints.push("same");
      const hint = await backend.hints.pull(AbortSignal.timeout(5000));
      expect(hint.job).toBe("same");
      await hint.done();
      await expect(backend.hints.pull(AbortSignal.timeout(400))).rejects.toThrow(/timeout/i);
    });

    test("a blob that was replaced and deleted stays so when the server is killed -9", async () => {
      await using own = await startNats(path as string, join(folder, "deleted"));
      await using backend = await openNats(own.url);
      for (let n = 0; n < 40; n++) {
        for (let step = 0; step < 3; step++) await backend.blobs.put(`state.${n}`, new Uint8Array(2000).fill(step));
        await backend.blobs.put(`output.${n}.video`, new Uint8Array(20_000));
        await backend.blobs.delete(`state.${n}`);
      }
      await own.restart();
      for (let n = 0; n < 40; n++) {
        expect(await backend.blobs.size(`state.${n}`), `state.${n}`).toBeUndefined();
        expect(await backend.blobs.get(`state.${n}`), `state.${n}`).toBeUndefined();
        expect(await backend.blobs.size(`output.${n}.video`)).toBe(20_000);
      }
    });

    test("the server is killed -9 while values, blobs and hints are written: what was acknowledged is there, once", async () => {
      await using backend = await openNats(server.url);
      const store = new JobStore(backend);
      const request = { kind: "text", model: "moving-shapes", prompt: "x" } as const;
      const kills = (async () => {
        for (let n = 0; n < 3; n++) {
          await new Promise((done) => setTimeout(done, 150));
          await server.restart();
        }
      })();
      const ids: string[] = [];
      const large = new Uint8Array(1_200_000).map((_, i) => i % 249);
      for (let n = 0; n < 30; n++) {
        const { id } = await store.create({ request });
        ids.push(id);
        await store.update(id, (job) => ({ ...job, attempts: n }));
        if (n % 5 === 0) await backend.blobs.put(`state.${id}`, large);
      }
      await kills;
      expect((await store.ids()).length).toBe(30);
      for (const [n, id] of ids.entries()) {
        expect((await store.get(id))?.attempts).toBe(n);
        if (n % 5 === 0) expect(Buffer.compare((await backend.blobs.get(`state.${id}`))!, large)).toBe(0);
      }
      const hinted = new Set<string>();
      while (hinted.size < 30) {
        const hint = await backend.hints.pull(AbortSignal.timeout(5000));
        hinted.add(hint.job);
        await hint.done();
      }
      for (const id of ids) await store.delete(id);
      expect(await store.ids()).toEqual([]);
    }, 60_000);
  },
);

test.skipIf(path instanceof Error)(
  "of a cluster of three the leader is killed -9 while jobs are written: all is there",
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "cogwheel-cluster-"));
    {
      await using cluster = await startCluster(path as string, folder);
      await using backend = await openNats(cluster.url);
      const store = new JobStore(backend);
      const request = { kind: "text", model: "moving-shapes", prompt: "x" } as const;
      let killed = false;
      const killing = killLeader(cluster).finally(() => (killed = true));
      const ids: string[] = [];
      const large = new Uint8Array(1_200_000).map((_, i) => i % 249);
      for (let n = 0; n < 10 || !killed; n++) {
        const { id } = await store.create({ request });
        ids.push(id);
        await store.update(id, (job) => ({ ...job, attempts: n }));
        if (n < 3) await backend.blobs.put(`state.${id}`, large);
      }
      await killing;
      for (const [n, id] of ids.entries()) expect((await store.get(id))?.attempts).toBe(n);
      for (const id of ids.slice(0, 3)) expect(Buffer.compare((await backend.blobs.get(`state.${id}`))!, large)).toBe(0);
      const hinted = new Set<string>();
      while (hinted.size < ids.length) {
        const hint = await backend.hints.pull(AbortSignal.timeout(10_000));
        hinted.add(hint.job);
        await hint.done();
      }
      await using again = await openNats(cluster.url.split(",").reverse().join());
      // Whichever server lists them, the one that was killed too.
      for (let n = 0; n < 20; n++) expect((await new JobStore(again).ids()).length).toBe(ids.length);
    }
    await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  },
  120_000,
);

test("no server, and one that is too old, are refused with the rule", async () => {
  await expect(openNats(`nats://127.0.0.1:${await freePort()}`)).rejects.toThrow(
    /a NATS server must answer at nats:\/\/127\.0\.0\.1:\d+, got/,
  );
  // What a server of Debian 12 says of itself; it is asked for nothing more.
  const old = createServer((socket) => {
    socket.write(`INFO ${JSON.stringify({ server_id: "x", version: "2.9.10", max_payload: 1048576, headers: true, proto: 1 })}\r\n`);
    socket.on("data", (data) => data.toString().includes("PING") && socket.write("PONG\r\n"));
    socket.on("error", () => undefined);
  }).listen(0, "127.0.0.1");
  await new Promise((listening) => old.once("listening", listening));
  const { port } = old.address() as { port: number };
  await expect(openNats(`nats://user:secret@127.0.0.1:${port}`)).rejects.toThrow(
    /must be 2\.12 or newer, got 2\.9\.10 at nats:\/\/127\.0\.0\.1:\d+: older ones lost/,
  );
  old.close();
});
