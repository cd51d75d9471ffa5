/** What is read of every film and picture at hand, as digests: two checkouts that print the same measure the same, byte for byte. */
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { WorkPool } from "../../src/curation/work/pool-node.ts";
import { drawnFilms, fetched } from "./peers.ts";

/** Films and pictures of the tests: all codecs, depths, ranges, layouts and turns, and what is refused. */
const FIXTURES = ["test/video/fixtures/films", "test/video/fixtures", "test/fuzz/seeds"];

export async function run(): Promise<boolean> {
  const place = mkdtempSync(join(tmpdir(), "cogwheel-digests-"));
  await using pool = new WorkPool(2);
  try {
    const films = [
      ...fetched().filter((path) => path !== "" && !path.endsWith(".pth")),
      ...(await drawnFilms()).map(({ path }) => path),
      ...FIXTURES.flatMap((folder) =>
        readdirSync(folder, { withFileTypes: true })
          .filter((entry) => entry.isFile())
          .map((entry) => join(resolve(folder), entry.name)),
      ),
    ];
    const lines = await Promise.all(
      films.map(async (path, i) => {
        const to = join(place, String(i));
        const name = basename(path);
        try {
          await pool.run({ path, name, task: { task: "curves" }, to });
          return `${createHash("sha256").update(readFileSync(to)).digest("hex").slice(0, 32)} ${name}`;
        } catch (error) {
          return `refused ${name}: ${(error as Error).message}`;
        }
      }),
    );
    for (const line of lines.toSorted()) console.log(line);
    return true;
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}
