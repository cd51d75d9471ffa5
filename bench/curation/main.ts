/**
 * `npm run bench:data -- cuts|transnet|motion|figures|digests`: how `cogwheel data` stands beside others, and what it takes.
 *
 *   cuts      changes of shot against PySceneDetect's detectors at their defaults: F1 over the packages' footage and drawn films
 *   transnet  TransNet V2 against its PyTorch package (that of `npm run reference`), with the published weights, on that footage
 *   motion    the column `motion` against OpenCV's Farneback over clips of 2 s of that footage: Spearman's correlation
 *   figures   frames a second beside a bare decode loop, copies beside real time, a second run, a new threshold, memory over many films
 *   digests   curves and pictures of that footage, of drawn films and of the tests' fixtures, to compare with those of another checkout
 *
 * Exit code 0 where the bounds hold that each prints. The footage comes by `npm run footage`; PySceneDetect and OpenCV lie in an
 * environment of their own (test/footage/requirements.txt; COGWHEEL_PYTHON names another Python that has them).
 */
import { Argument, Command } from "commander";
import { guardOutput } from "../../src/cli/terminal/output.ts";

guardOutput();
const KINDS: Record<string, () => Promise<{ run(only?: string): Promise<boolean> }>> = {
  cuts: () => import("./cuts.ts"),
  transnet: () => import("./transnet.ts"),
  motion: () => import("./motion.ts"),
  figures: () => import("./figures.ts"),
  digests: () => import("./digests.ts"),
};
const program = new Command("bench:data")
  .description("how `cogwheel data` stands beside others, and what it takes")
  .addArgument(new Argument("<kind>", "what is measured").choices(Object.keys(KINDS)))
  .option("--only <figure>", "decoding, copying, memory or many, of the figures; one film, of transnet")
  .parse();
const { run } = await KINDS[program.args[0]!]!();
process.exit((await run(program.opts<{ only?: string }>().only)) ? 0 : 1);
