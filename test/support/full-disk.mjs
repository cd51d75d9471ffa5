/**
 * For `node --import`: files below FULL_IN have FULL_BYTES in all, as on a small disk. What goes beyond is written up to there and then
 * fails as the system says it. (A limit on the size of files would do, were it not that software adapters end when their memory files
 * cannot grow.)
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { join, resolve, sep } from "node:path";

const below = process.env.FULL_IN;
const room = Number(process.env.FULL_BYTES);
const used = () =>
  fs
    .readdirSync(below, { recursive: true })
    .reduce(
      (sum, name) =>
        sum +
        (fs.statSync(join(below, name), { throwIfNoEntry: false })?.size ?? 0) *
          +!fs.statSync(join(below, name), { throwIfNoEntry: false })?.isDirectory(),
      0,
    );
const full = () => Object.assign(new Error("ENOSPC: no space left on device, write"), { errno: -28, code: "ENOSPC", syscall: "write" });

if (below) {
  const { open, writeFile: write } = fs.promises;
  const concerns = (path) => typeof path === "string" && resolve(path).startsWith(below + sep);
  fs.promises.open = async (path, ...rest) => {
    const file = await open(path, ...rest);
    if (!concerns(path)) return file;
    const { writeFile } = file;
    file.writeFile = async (data, ...more) => {
      const bytes = Buffer.from(data);
      const left = room - used();
      if (bytes.length <= left) return writeFile.call(file, data, ...more);
      await file.write(bytes.subarray(0, Math.max(0, left)));
      throw full();
    };
    return file;
  };
  fs.promises.writeFile = async (path, data, ...rest) => {
    if (concerns(path) && Buffer.byteLength(data) > room - used()) throw full();
    return write(path, data, ...rest);
  };
  syncBuiltinESMExports();
}
