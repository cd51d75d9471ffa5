/** For `node --import`: a clock that is off by as many milliseconds as the file CLOCK_OFF says, which may change. */
import { readFileSync } from "node:fs";

const file = process.env.CLOCK_OFF;
if (file) {
  const { now } = Date;
  let off = 0;
  const look = () => {
    off = Number(readFileSync(file, "utf8"));
  };
  look();
  setInterval(look, 100).unref();
  Date.now = () => now() + off;
}
