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
interface Bench {
  /** What `--only` can name. */
  only?(): readonly string[];
  /** Whether the bounds hold. @param wanted what `--only` names, else all */
  run(wanted: ReadonlySet<string>): Promise<boolean>;
}
const KINDS: Record<string, () => Promise<Bench>> = {
  cuts: () => import("./cuts.ts"),
  transnet: () => import("./transnet.ts"),
  motion: () => import("./motion.ts"),
  figures: () => import("./figures.ts"),
  digests: () => import("./digests.ts"),
};
const program = new Command("bench:data")
  .description("how `cogwheel data` stands beside others, and what it takes")
  .addArgument(new Argument("<kind>", "what is measured").choices(Object.keys(KINDS)))
  .option("--only <names>", "of the figures: decoding, copying, memory, many; of transnet: films; several after commas")
  .parse();
const [kind] = program.args as [string];
const { run, only } = await KINDS[kind]!();
const known = only?.() ?? [];
const asked =
  program
    .opts<{ only?: string }>()
    .only?.split(",")
    .map((name) => name.trim()) ?? known;
const wrong = asked.filter((name) => !known.includes(name));
const parts = known.join(", ") || `the parts of ${kind}, which has none`;
if (wrong.length)
  program.error(`[bench] --only must name some of ${parts}, got ${wrong.join(", ")}; correct it, or leave it out`, { exitCode: 2 });
process.exit((await run(new Set(asked))) ? 0 : 1);
