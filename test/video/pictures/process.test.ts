/** Pictures from files, as a program reads them that has nothing else to do: a test runner would hide a process that ends too early. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { BOMBS } from "../../fuzz/bombs.ts";
import { random } from "../../support/mutate.ts";
import { bytesOf, type Drawn } from "./drawn.ts";

const drawn = JSON.parse(readFileSync(new URL("pictures.json", import.meta.url), "utf8")) as Drawn[];
const PACKAGE = pathToFileURL(resolve("dist/node.js")).href;
let folder: string;
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), "cogwheel-pictures-"))));
afterAll(async () => rm(folder, { recursive: true, force: true }));

/** What a child process prints of each path: size and frames, or the error; it must end by itself with exit code 0. */
async function read(...paths: string[]): Promise<string[]> {
  const program = `import { decodeVideo } from ${JSON.stringify(PACKAGE)};
const told = ({ width, height, frames, fps }) =>
  \`\${width}×\${height} \${frames.length} \${fps ? "moving" : "still"} \${frames[0].data.slice(0, 3)}\`;
for (const path of process.argv.slice(1)) console.log(await decodeVideo(path).then(told, (error) => error.message));`;
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", program, ...paths]);
  expect(stderr).toBe("");
  return stdout.trim().split("\n");
}

it("every kind, by what it begins with and not by its name", async () => {
  const kinds = ["png", "apng", "gif", "jpeg", "webp", "moving-webp"].map((kind) => drawn.find(({ name }) => name.startsWith(`${kind}-`))!);
  const paths = await Promise.all(
    kinds.map(async (picture) => {
      const path = join(folder, `${picture.name}.mp4`);
      await writeFile(path, bytesOf(picture));
      return path;
    }),
  );
  const lines = await read(...paths);
  for (const [index, { width, height, frames, seconds, name }] of kinds.entries())
    expect(lines[index], name).toMatch(
      new RegExp(`^${width}×${height} ${frames.length} ${seconds ? "moving" : name.startsWith("moving") ? "moving" : "still"} `),
    );
}, 30_000);

it("a folder of pictures of several kinds, in the order of their names", async () => {
  const { encodeVideo } = await import("../../../src/video/encode.ts");
  const black = await encodeVideo([{ width: 29, height: 19, data: new Uint8Array(29 * 19 * 3) }], { format: "png", fps: 8 });
  const jpeg = bytesOf(drawn.find(({ name }) => name === "jpeg-440")!);
  await mkdir(join(folder, "frames"));
  await writeFile(join(folder, "frames/b.PNG"), black);
  await writeFile(join(folder, "frames/a.jpeg"), jpeg);
  await writeFile(join(folder, "frames/notes.txt"), "not a picture");
  await mkdir(join(folder, "sizes"));
  await writeFile(join(folder, "sizes/a.jpg"), jpeg);
  await writeFile(join(folder, "sizes/b.png"), bytesOf(drawn.find(({ name, width }) => name.startsWith("png-") && width !== 29)!));
  await mkdir(join(folder, "none"));
  const [frames, sizes, none] = await read(join(folder, "frames"), join(folder, "sizes"), join(folder, "none"));
  expect(frames).toMatch(/^29×19 2 still (?!0,0,0)/);
  expect(sizes).toMatch(/^\[video\] .* must have frames of one size, got 29×19 and /);
  expect(none).toMatch(/^\[video\] a folder must hold \.png, \.jpg or \.webp files to be read as a video, got none in /);
}, 30_000);

it("what asks for too much, and what is not read, are words and no end of the process", async () => {
  await writeFile(join(folder, "bomb.gif"), BOMBS["gif of 20000×20000, 3 frames"]!(random(1)));
  await writeFile(join(folder, "photo.jpg"), Buffer.from("\0\0\0\x18ftypheic\0\0\0\0mif1heic", "latin1"));
  const [bomb, photo] = await read(join(folder, "bomb.gif"), join(folder, "photo.jpg"));
  expect(bomb).toMatch(/^\[video\] .*bomb\.gif must have at most 67,108,864 pixels a frame, got 20000×20000/);
  expect(photo).toMatch(
    /^\[video\] .*photo\.jpg must be a film or a picture that can be read here, got HEIC or HEIF; convert it to PNG or JPEG/,
  );
}, 30_000);
