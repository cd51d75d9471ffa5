/** What a result takes over from the file that it replaces, and where it cannot be. */
import { chmodSync, chownSync, mkdtempSync, realpathSync, rmSync, statSync, watch, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { checkWritable, openOutput } from "#platform";

let place: string;
beforeAll(() => void (place = realpathSync(mkdtempSync(join(tmpdir(), "cogwheel-output-files-")))));
afterAll(() => rmSync(place, { recursive: true, force: true }));

async function write(path: string): Promise<void> {
  await using output = await openOutput(path, "file");
  await output.write(new Uint8Array(3));
  await output.commit();
}

it.skipIf(process.platform === "win32")("keeps a file's permissions and owner, and is open to nobody else in between", async () => {
  const path = join(place, "film.mp4");
  await write(path);
  expect(statSync(path).mode & 0o777).toBe(0o666 & ~process.umask());
  for (const mode of [0o600, 0o640, 0o444, 0o666]) {
    writeFileSync(path, "before", { flag: "w" });
    chmodSync(path, mode);
    const root = process.getuid?.() === 0;
    if (root) chownSync(path, 12345, 23456);
    {
      await using output = await openOutput(path, "file");
      const made = new Promise<string>((done) => {
        const watcher = watch(place, (_, name) => name?.endsWith(".part") && (watcher.close(), done(join(place, name))));
      });
      await output.write(new Uint8Array(3));
      expect(statSync(await made).mode & 0o077, "of the unfinished file").toBe(0);
      await output.commit();
    }
    const { mode: kept, uid, gid, size } = statSync(path);
    expect([size, kept & 0o777]).toEqual([3, mode]);
    if (root) expect([uid, gid]).toEqual([12345, 23456]);
    chmodSync(path, 0o600);
  }
});

it.skipIf(process.platform === "win32")("calls what is in the way by what it is", async () => {
  await expect(checkWritable("/dev/null/a.gif", "file")).rejects.toThrow(
    "/dev/null/a.gif must be in a folder, got /dev/null, which is a device or a pipe; choose another place with --out.",
  );
  writeFileSync(join(place, "plain"), "");
  await expect(checkWritable(join(place, "plain/a.gif"), "file")).rejects.toThrow(`got the file ${join(place, "plain")};`);
});
