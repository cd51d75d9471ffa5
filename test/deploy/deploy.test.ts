/** deploy/: its commands are this version's, its queues are what it promises, and a cluster made by it loses a server and nothing else. */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { openNats } from "../../src/jobs/nats-node.ts";
import { JobStore } from "../../src/jobs/store.ts";
import { useCommand } from "../support/command.ts";
import { freePort, natsServer } from "../support/nats-server.ts";

const run = promisify(execFile);
const read = (name: string): Promise<string> => readFile(resolve("deploy", name), "utf8");
const command = useCommand();

interface Container {
  readonly image: string;
  readonly args?: readonly string[];
  readonly command?: readonly string[];
}
interface Document {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: {
    readonly template?: { readonly spec: { readonly containers: readonly Container[]; readonly initContainers?: readonly Container[] } };
  };
}
const documents = async (): Promise<Document[]> => parseAllDocuments(await read("kubernetes.yaml")).map((one) => one.toJS() as Document);
const containersOf = ({ spec }: Document): readonly Container[] => [
  ...(spec?.template?.spec.initContainers ?? []),
  ...(spec?.template?.spec.containers ?? []),
];

test("every command of the Compose file and of the manifest is one, with options that it has", async () => {
  const { services } = parse(await read("compose.yaml"), { merge: true }) as {
    services: Record<string, { image: string; command?: string[] }>;
  };
  const kubernetes = (await documents()).flatMap(containersOf).filter(({ image }) => image === "cogwheel");
  const shell = (line: string): string[] => /launch\.js ([^&]*)&/.exec(line)![1]!.trim().split(" ");
  const all = [
    ...Object.values(services).flatMap(({ image, command: words }) => (image === "cogwheel" ? [words!] : [])),
    ...kubernetes.map(({ args, command: words }) => args ?? shell(words!.at(-1)!)),
  ];
  expect(
    all
      .map((words) =>
        words
          .slice(
            0,
            words.findIndex((word) => /^--|^clients/.test(word)),
          )
          .join(" "),
      )
      .sort(),
  ).toEqual(["serve", "serve", "serve keys add", "serve keys add", "worker", "worker"]);
  for (const words of all) {
    const name = words.slice(
      0,
      words.findIndex((word) => /^--|^clients/.test(word)),
    );
    const { out } = await command.run([...name, "--help"]);
    for (const option of words.filter((word) => word.startsWith("--")))
      expect(out, words.join(" ")).toMatch(new RegExp(`^ +${option} `, "m"));
  }
}, 60_000);

test("the image is built by the README's command, and holds what the package does", async () => {
  const [dockerfile, readme, manifest] = [
    await read("Dockerfile"),
    await readFile("README.md", "utf8"),
    await readFile("package.json", "utf8"),
  ];
  expect(readme).toMatch(/^npm ci /m);
  expect(dockerfile).toMatch(/^RUN npm ci /m);
  const { files, bin } = JSON.parse(manifest) as { files: string[]; bin: Record<string, string> };
  expect(dockerfile).toContain(`"/cogwheel/${bin["cogwheel"]}"`);
  for (const folder of ["dist", "models"]) {
    expect(files.some((file) => file.startsWith(`${folder}/`))).toBe(true);
    expect(dockerfile).toMatch(new RegExp(`^COPY --from=build /cogwheel/${folder} ${folder}$`, "m"));
  }
});

const path = await natsServer();
const why = path instanceof Error ? path.message.split("\n")[0]! : "";
describe.skipIf(path instanceof Error)(`nats-server${why && ` (none could be had: ${why}; name one with COGWHEEL_NATS_SERVER)`}`, () => {
  let folder: string;
  const servers = new Map<string, ChildProcess>();
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "cogwheel-deploy-"));
  });
  afterAll(async () => {
    for (const child of servers.values()) child.kill("SIGKILL");
    await rm(folder, { recursive: true, force: true });
  });
  const password = { NATS_PASSWORD: "secret" };

  /** A file of deploy/ as a server on this machine has it. */
  const local = (text: string, store: string, ports: Readonly<Record<string, number>>): string =>
    Object.entries(ports).reduce((all, [port, own]) => all.replaceAll(`0.0.0.0:${port}`, `127.0.0.1:${own}`), text.replace("/data", store));

  const start = async (name: string, text: string, args: readonly string[] = []): Promise<void> => {
    const config = join(folder, `${name}.conf`);
    await writeFile(config, text);
    const child = spawn(path as string, ["--config", config, ...args], {
      env: { ...password, POD_NAME: name },
      stdio: ["ignore", "ignore", "pipe"],
    });
    servers.set(name, child);
    await new Promise<void>((ready, fail) => {
      let said = "";
      child.stderr!.on("data", (part: Buffer) => {
        said += part.toString();
        if (said.includes("Server is ready")) ready();
      });
      child.once("exit", () => fail(new Error(`nats-server ended: ${said}`)));
    });
  };

  test("the server of the Compose file writes at once, and says so to workers", async () => {
    const [client, monitor] = [await freePort(), await freePort()];
    await start("single", local(await read("nats.conf"), join(folder, "single"), { 4222: client, 8222: monitor }));
    const told: string[] = [];
    await using backend = await openNats(`nats://videos:secret@127.0.0.1:${client}`, (message) => told.push(message));
    expect([told, await backend.values.put("a", Uint8Array.of(1), 0)]).toEqual([[], 1]);
    expect((await fetch(`http://127.0.0.1:${monitor}/healthz`)).status).toBe(200);
  });

  test("the manifest's three servers hold everything three times: one that leads is killed, and nothing is lost", async () => {
    const all = await documents();
    const text = all.find(({ kind }) => kind === "ConfigMap")!.data!["nats.conf"]!;
    const { args } = containersOf(all.find(({ kind }) => kind === "StatefulSet")!)[0]!;
    const names = [0, 1, 2].map((n) => `cogwheel-nats-${n}`);
    const ports = await Promise.all(names.map(async () => ({ 4222: await freePort(), 6222: await freePort(), 8222: await freePort() })));
    const routes = names.reduce(
      (line, name, n) => line.replaceAll(`@${name}.cogwheel-nats:6222`, `@127.0.0.1:${ports[n]![6222]}`),
      args!.find((word) => word.startsWith("--routes="))!.replaceAll("$(NATS_PASSWORD)", "secret"),
    );
    expect(routes.match(/127\.0\.0\.1/g)).toHaveLength(3);
    await Promise.all(names.map((name, n) => start(name, local(text, join(folder, name), ports[n]!), [routes])));
    const told: string[] = [];
    const address = `nats://videos:secret@127.0.0.1:${ports[0]![4222]}`;
    await using backend = await openNats(address, (message) => told.push(message));
    expect(told).toEqual([]);
    const connection = await connect({ servers: `127.0.0.1:${ports[0]![4222]}`, user: "videos", pass: "secret", maxReconnectAttempts: -1 });
    const jsm = await jetstreamManager(connection);
    const streams = ["KV_cogwheel_jobs", "cogwheel_blobs", "cogwheel_hints"];
    const info = await Promise.all(streams.map((name) => jsm.streams.info(name)));
    expect(info.map(({ config }) => [config.num_replicas, config.allow_direct])).toEqual(streams.map(() => [3, false]));

    const store = new JobStore(backend);
    const large = new Uint8Array(1_300_000).map((_, i) => i % 251);
    const ids: string[] = [];
    const more = async (): Promise<void> => {
      for (let n = 0; n < 5; n++) {
        const { id } = await store.create({ request: { kind: "text", model: "m", prompt: "x" }, input: large });
        ids.push(id);
      }
    };
    await more();
    const leader = info[0]!.cluster!.leader!;
    await connection.close();
    servers.get(leader)!.kill("SIGKILL");
    await more();
    expect(await store.ids()).toEqual(ids.toSorted());
    for (const id of ids) expect(Buffer.compare((await backend.blobs.get(`input.${id}`))!, large), id).toBe(0);
    // Opening it again changes nothing.
    const living = names.findIndex((name) => name !== leader);
    await using again = await openNats(`nats://videos:secret@127.0.0.1:${ports[living]![4222]}`);
    expect(await new JobStore(again).ids()).toEqual(ids.toSorted());
  }, 90_000);

  test("is content with both files", async () => {
    const file = resolve("deploy/nats.conf");
    expect((await run(path as string, ["-t", "--config", file], { env: password })).stderr).toMatch(/is valid/);
  });
});
