/**
 * A sample of `npm run fuzz -- weights quantized`: damaged files through the public doors. Each must be refused by a CogwheelError that
 * says what was got, or be read for exactly what it says; it must never crash, hang, or take memory that the file does not fill. A failure
 * names its seed. `COGWHEEL_FUZZ=500` makes that many of each kind (40 times its share unless told), `COGWHEEL_FUZZ_SEED` others.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import { Mutator } from "../support/mutate.ts";
import { testGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints } from "../support/tiny-checkpoint.ts";
import { isRefusal } from "./kind.ts";
import { quantizedDamages } from "./quantized-damage.ts";
import { damages, type Damage } from "./weights-damage.ts";

const COUNT = Number(process.env["COGWHEEL_FUZZ"] ?? 40);
const SEED = Number(process.env["COGWHEEL_FUZZ_SEED"] ?? 1);
/** Far above what the slowest of these takes on a busy machine, far below a hang. */
const SECONDS = 30;

let all: Damage[];
beforeAll(async () => {
  const gpu = await testGpu();
  all = [...(await damages(gpu)), ...(await quantizedDamages(gpu))];
});
afterAll(removeTinyCheckpoints);

test("damaged files are refused in words or read for what they say", { timeout: 600_000 }, async () => {
  for (const { name, share, draw } of all) {
    let refused = 0;
    for (let seed = SEED; seed < SEED + COUNT * share; seed++) {
      const from = performance.now();
      try {
        await draw(new Mutator(seed))();
      } catch (error) {
        if (!isRefusal(error))
          throw new Error(
            `${name}, seed ${seed}: a damaged file must be refused by a CogwheelError, got ` +
              `${error instanceof Error ? `${error.name}: ${error.message.slice(0, 300)}\n${error.stack?.slice(-1500)}` : String(error)}`,
            { cause: error },
          );
        refused++;
      }
      const seconds = (performance.now() - from) / 1000;
      if (seconds > SECONDS) throw new Error(`${name}, seed ${seed}: took ${seconds.toFixed(1)} s`);
    }
    expect(refused, `${name}: damage is noticed`).toBeGreaterThan(COUNT === 1 ? -1 : 0);
  }
});
