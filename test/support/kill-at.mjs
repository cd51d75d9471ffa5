/**
 * For `node --import`: ends this process by SIGKILL before its Nth call that changes a file below KILL_IN, N from KILL_AT; before the
 * half of a file's data is written, that is. With KILL_COUNT the number of such calls is written to that file at the end, and nothing
 * is killed.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { resolve, sep } from "node:path";

const below = process.env.KILL_IN;
const at = Number(process.env.KILL_AT ?? 0);
let calls = 0;

const concerns = (path) => typeof path === "string" && (resolve(path) + sep).startsWith(below + sep);
const die = () => process.kill(process.pid, "SIGKILL");
/** Counts a call; true if the process is to end here. */
const due = () => ++calls === at;

if (below) {
  const real = { ...fs.promises };
  for (const name of ["rename", "mkdir", "rmdir", "rm", "unlink", "writeFile", "cp", "chmod", "chown", "symlink", "copyFile"]) {
    fs.promises[name] = (path, ...rest) => {
      if ((concerns(path) || concerns(rest[0])) && due()) die();
      return real[name](path, ...rest);
    };
  }
  fs.promises.open = async (path, flags, ...rest) => {
    const writes = concerns(path) && typeof flags === "string" && flags !== "r";
    if (writes && due()) die();
    const file = await real.open(path, flags, ...rest);
    if (!writes) return file;
    const { writeFile } = file;
    file.writeFile = async (data, ...more) => {
      const bytes = Buffer.from(data);
      if (due()) {
        await file.write(bytes.subarray(0, bytes.length >> 1));
        die();
      }
      return writeFile.call(file, data, ...more);
    };
    return file;
  };
  for (const name of ["renameSync", "rmSync", "unlinkSync", "mkdirSync", "writeFileSync"]) {
    const call = fs[name];
    fs[name] = (path, ...rest) => {
      if ((concerns(path) || concerns(rest[0])) && due()) die();
      return call(path, ...rest);
    };
  }
  syncBuiltinESMExports();
  if (process.env.KILL_COUNT) process.on("exit", () => fs.appendFileSync(process.env.KILL_COUNT, `${calls}\n`));
}
