/**
 * From a folder of videos to a data set, stage by stage. Everything that a stage finds stands in the ledger before the next one asks, so
 * that a run that was ended at any moment goes on where it was, and one in which nothing changed does nothing.
 *
 *     OUT/metadata.jsonl, OUT/videos/…     the data set
 *     OUT/.curation/ledger.jsonl           what was done
 *     OUT/.curation/curves/, clips/        what it was made from: may be deleted, and is made again
 */
import { access, mkdir, readdir, readFile, rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { openOutput } from "#platform";
import { CogwheelError } from "../base/errors.ts";
import { type Curves, decodeCurves } from "./curves/columns.ts";
import { CURVES_VERSION } from "./curves/read.ts";
import { clipsOf, shotsOf, whyNone } from "./cuts/clips.ts";
import { type DetectorName, detectTransitions } from "./cuts/detect.ts";
import type { ShotNetwork } from "./cuts/network.ts";
import { scoreFilm } from "./cuts/score-node.ts";
import { placed, removeParts, sizeOf } from "./dataset/files-node.ts";
import { columnsOf, type DatasetRow, durationOf, sourceOf } from "./dataset/rows.ts";
import { filterOf, partsWithout, select, type Selection } from "./dataset/select.ts";
import { resultKey } from "./ledger/key.ts";
import { fileLedgerStore } from "./ledger/ledger-node.ts";
import { Ledger } from "./ledger/ledger.ts";
import { duplicatesOf } from "./measures/duplicates.ts";
import { scoresOf, SCORES_VERSION } from "./measures/scores.ts";
import { CUT_DEFAULTS, type CutOptions, SELECT_DEFAULTS, type SelectOptions } from "./options.ts";
import { handCaptions } from "./scan/captions-node.ts";
import { filesIn, type FoundFile } from "./scan/walk-node.ts";
import type { RefusedFile } from "./refused.ts";
import type { CaptionColumns, CutSource, ScannedSource, ScoredClip, WrittenClip } from "./results.ts";
import type { MediaFacts, Source, StageError, StageResult } from "./types.ts";
import { WorkPool } from "./work/pool-node.ts";

/** What a curation works on, and how. */
export interface CurationOptions {
  /** Folder of videos and pictures. */
  readonly videos: string;
  /** Folder of the data set. */
  readonly out: string;
  /** Films that are worked on at a time. Default: one a core. */
  readonly jobs?: number;
  readonly cut?: Partial<CutOptions>;
  readonly select?: Partial<SelectOptions>;
  /** For the detector `transnet`. */
  readonly network?: ShotNetwork;
  readonly signal?: AbortSignal;
  /** @param done 0 to 1 */
  onProgress?(stage: string, done: number, detail?: string): void;
}

const CUTTER_VERSION = 2;
const SCAN_VERSION = 1;
const CUT_VERSION = 2;
const SCORED_VERSION = 1;
export const WORK_FOLDER = ".curation";
/** In it: a line for each clip of the last run. */
export const COLUMNS_FILE = "columns.jsonl";

/**
 * The way from a folder of videos to a data set in Node: `scan`, `cut`, `measure`, `select`, `write`, `export`, each with what the one
 * before gave. What was done before is found in the ledger of `out`. Films are read in processes of its own, which end with it: dispose of
 * it. One at a time works in a folder. Files that cannot be read do not end a stage: they are in `refused`.
 */
export class Curation implements AsyncDisposable {
  readonly refused: RefusedFile[] = [];
  /** Paths of files that are another one's copy, and that one's. */
  readonly copies = new Map<string, string>();
  readonly #pool: WorkPool;

  private constructor(
    readonly options: CurationOptions,
    readonly ledger: Ledger,
  ) {
    this.#pool = new WorkPool(options.jobs ?? availableParallelism());
  }

  /** Opens the folder `out`, which is made where it is not there. Throws a `CogwheelError` for a filter that is none. */
  static async open(options: CurationOptions): Promise<Curation> {
    filterOf(options.select?.where); // refused before films are read
    // What children that were killed with a run left half written: nobody else works here.
    for (const kind of ["curves", "clips"]) await removeParts(join(options.out, WORK_FOLDER, kind));
    await removeParts(join(options.out, "videos"));
    return new Curation(options, await Ledger.open(fileLedgerStore(join(options.out, WORK_FOLDER, "ledger.jsonl"))));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool[Symbol.asyncDispose]();
    await this.ledger.flush();
  }

  /** Files of the folder, by content: what each is, or why it is refused. */
  async scan(): Promise<ScannedSource[]> {
    const { videos, out } = this.options;
    const found = await filesIn(videos, out);
    const byHash = new Map<string, string>();
    const scanned = await this.#each("scan", found, async (file) => {
      const source = await this.#sourceOf(file);
      if (!source) return undefined;
      const key = resultKey("scan", SCAN_VERSION, {}, [source.hash]);
      const result = await this.#stage<MediaFacts>("scan", key, source, async () => {
        const value = await this.#pool.run({ path: file.full, name: file.path, task: { task: "scan" } });
        return value as unknown as MediaFacts;
      });
      return { source, result, full: file.full };
    });
    const sources: ScannedSource[] = [];
    for (const one of scanned) {
      if (!one) continue;
      const { source, result, full } = one;
      const first = byHash.get(source.hash);
      if (first !== undefined) {
        this.copies.set(source.path, first);
        continue;
      }
      byHash.set(source.hash, source.path);
      if (result.error) this.#refuse(source.path, "scan", result.error);
      else sources.push({ source, facts: result.value!, full, key: result.key });
    }
    return sources;
  }

  /** Curves of every film, changes of shot in them, and the clips between. */
  async cut(sources: readonly ScannedSource[]): Promise<CutSource[]> {
    const options = { ...CUT_DEFAULTS, ...this.options.cut };
    const { copy: _, ...params } = options;
    const cut = await this.#each("cut", sources, async (scanned) => {
      const { source, facts, full } = scanned;
      const curvesKey = resultKey("curves", CURVES_VERSION, {}, [scanned.key]);
      const file = this.#at("curves", curvesKey);
      const read = await this.#stage<{ frames: number; end: number; bytes: number }>(
        "curves",
        curvesKey,
        source,
        async () => (await this.#pool.run({ path: full, name: source.path, task: { task: "curves" }, to: file })) as never,
        ({ bytes }) => sizeOf(file) === bytes,
      );
      if (read.error) return this.#refuse(source.path, "curves", read.error);
      const scored = facts.kind === "film" ? await this.#scores(scanned, read.value!.frames, options.detectors) : undefined;
      if (scored?.error) return this.#refuse(source.path, "cut", scored.error);
      const key = resultKey("cut", CUT_VERSION, params, [curvesKey, ...(scored ? [scored.key] : [])]);
      type Found = Pick<CutSource, "transitions" | "clips" | "none">;
      const result = await this.#stage<Found>("cut", key, source, async () => {
        const curves = await this.curvesAt(file);
        const transitions = facts.kind === "picture" ? [] : detectTransitions(curves, options, await scored?.read());
        const shots = shotsOf(curves, transitions);
        const clips = clipsOf(source.hash, facts, curves, shots, options);
        return { transitions, clips, ...(clips.length ? {} : { none: whyNone(curves, shots, options) }) };
      });
      if (result.error) return this.#refuse(source.path, "cut", result.error);
      return { ...scanned, curves: file, curvesKey, frames: read.value!.frames, ...result.value! };
    });
    return cut.filter((one) => one !== undefined);
  }

  /** What the network says of a film, where one is asked. */
  async #scores(
    { source, full, key: parent }: ScannedSource,
    frames: number,
    detectors: readonly DetectorName[],
  ): Promise<{ key: string; error?: StageError; read(): Promise<Float32Array> } | undefined> {
    const { network, signal } = this.options;
    if (!network || !detectors.includes("transnet")) return undefined;
    const key = resultKey("scores", SCORED_VERSION, { network: network.key }, [parent]);
    const file = this.#at("curves", key);
    const { error } = await this.#stage<{ bytes: number }>(
      "scores",
      key,
      source,
      () => scoreFilm(this.#pool, { path: full, name: source.path, frames, to: file }, network, signal),
      ({ bytes }) => sizeOf(file) === bytes,
    );
    return { key, ...(error ? { error } : {}), read: async () => new Float32Array(Uint8Array.from(await readFile(file)).buffer) };
  }

  /** Scores of every clip. */
  async measure(sources: readonly CutSource[]): Promise<ScoredClip[]> {
    const all = await this.#each("measure", sources, async (of) => {
      let curves: Curves | undefined;
      // One hash a film: those of ten thousand clips would take longer than all else.
      const measured = resultKey("measure", SCORES_VERSION, {}, [of.curvesKey]);
      const rows: Omit<ScoredClip, "columns">[] = [];
      for (const clip of of.clips) {
        const key = `${measured}.${clip.id}`;
        const { value } = await this.#stage<Pick<ScoredClip, "scores" | "hashes">>("measure", key, { hash: clip.id }, async () => {
          curves ??= await this.curvesAt(of.curves);
          const { from, to } = clip;
          const at = (share: number): string => curves!.hash(Math.min(to - 1, Math.round(from + share * (to - 1 - from))));
          return { scores: { ...scoresOf(curves, from, to) }, hashes: [at(0.1), at(0.5), at(0.9)] };
        });
        rows.push({ clip, of, ...value! });
      }
      return rows;
    });
    const clips = all.flat();
    const alike = { ...SELECT_DEFAULTS, ...this.options.select }.alike;
    // Of clips that look alike the one with most pixels, and most bits for a second of it, counts as the first.
    const best = clips
      .map(({ clip, of, hashes }) => ({
        id: clip.id,
        hashes,
        seconds: durationOf(clip),
        pixels: clip.width * clip.height,
        bits: of.source.bytes / Math.max(of.facts.duration, 1e-3),
      }))
      .sort((a, b) => b.pixels - a.pixels || b.bits - a.bits);
    const duplicates = duplicatesOf(best, alike);
    return clips.map((one) => ({
      ...one,
      columns: columnsOf(one.clip, one.of.source, one.of.facts, one.scores, { duplicate_of: duplicates.get(one.clip.id) ?? null }),
    }));
  }

  /** Clips that stay by all that a filter can tell without some columns: those that are worth what these columns take. */
  worthAsking(clips: readonly ScoredClip[], unknown: readonly string[]): ScoredClip[] {
    const { where, duplicates } = { ...SELECT_DEFAULTS, ...this.options.select };
    const filter = filterOf(where);
    const { reasons } = select(
      clips.map(({ columns }) => columns),
      filter && partsWithout(filter, unknown),
      duplicates,
    );
    return clips.filter((_, i) => reasons[i] === undefined);
  }

  select(clips: readonly ScoredClip[]): Selection {
    const { where, duplicates, alike } = { ...SELECT_DEFAULTS, ...this.options.select };
    const selection = select(
      clips.map(({ columns }) => columns),
      filterOf(where),
      duplicates,
    );
    const chosen = resultKey("select", 1, { where, duplicates, alike }, []);
    // For `why`: a line a clip, where its verdict is a new one.
    for (const [i, { clip, columns }] of clips.entries()) {
      const value = { reason: selection.reasons[i] ?? null, where: where ?? null, duplicate_of: columns["duplicate_of"] };
      const last = this.ledger.of(clip.id).findLast(({ stage }) => stage === "select");
      if (last && JSON.stringify(last.value) === JSON.stringify(value)) continue;
      this.ledger.append({ stage: "select", key: `${chosen}.${clip.id}`, of: clip.id, value, ms: 0 });
    }
    return selection;
  }

  /** Keeps what was found of every clip, those that were dropped too: the page to label by reads it. */
  async keepColumns(clips: readonly ScoredClip[], { reasons }: Selection): Promise<void> {
    const lines = clips.map(({ clip, of, columns }, i) =>
      JSON.stringify({ id: clip.id, from: clip.from, to: clip.to, curves: of.curvesKey, reason: reasons[i] ?? null, columns }),
    );
    const text = lines.map((line) => `${line}\n`).join("");
    const name = join(WORK_FOLDER, COLUMNS_FILE);
    if ((await readFile(join(this.options.out, name), "utf8").catch(() => undefined)) !== text) await this.writeText(name, text);
  }

  /** Makes the files of clips that stay, in the store. */
  async write(clips: readonly ScoredClip[]): Promise<(WrittenClip | undefined)[]> {
    const { copy } = { ...CUT_DEFAULTS, ...this.options.cut };
    const [copied, encoded] = [true, false].map((copies) => resultKey("clip", CUTTER_VERSION, { copies }, []));
    return await this.#each("clips", clips, async ({ clip, of }) => {
      const { id, start, end, frames, rate } = clip;
      const copies = copy && clip.copies;
      const fps = of.facts.variable ? clip.fps : of.facts.fps;
      const key = `${copies ? copied : encoded}.${id}`;
      const file = this.#at("clips", id);
      const result = await this.#stage<Omit<WrittenClip, "file">>(
        "clip",
        key,
        { hash: id, path: of.source.path },
        async () => {
          const task = { task: "cut", span: { start, end, frames, fps, ...(rate === undefined ? {} : { rate }) }, copy: copies } as const;
          return (await this.#pool.run({ path: of.full, name: of.source.path, task, to: file })) as never;
        },
        ({ bytes }) => sizeOf(file) === bytes,
      );
      if (result.error) return this.#refuse(`${of.source.path} ${start}–${end} s`, "clip", result.error, of.source.path);
      return { ...result.value!, file };
    });
  }

  /**
   * Writes `metadata.jsonl` and `videos/`; what was there and is not of the data set any more is taken away.
   * @param captionOf a clip's caption, with more columns of it; where it has none, it is that which a person wrote of its video
   */
  async export(
    clips: readonly ScoredClip[],
    written: readonly (WrittenClip | undefined)[],
    captionOf: (clip: ScoredClip) => CaptionColumns | undefined = () => undefined,
  ): Promise<DatasetRow[]> {
    const { out, videos: from } = this.options;
    const byHand = await handCaptions(from, [...new Set(clips.map(({ of }) => of.source.path))]);
    const videos = join(out, "videos");
    await mkdir(videos, { recursive: true });
    const rows: DatasetRow[] = [];
    const names = new Set<string>();
    for (const [i, one] of clips.entries()) {
      const { clip, of, scores, columns, more } = one;
      const made = written[i];
      if (!made) continue;
      const name = `${clip.id}.${made.ending}`;
      names.add(name);
      await placed(made.file, join(videos, name), made.bytes);
      rows.push({
        file_name: `videos/${name}`,
        caption: byHand.get(of.source.path) ?? "",
        ...captionOf(one),
        width: made.width,
        height: made.height,
        fps: made.fps,
        num_frames: made.frames,
        duration: durationOf(clip),
        source: sourceOf(clip, of.source),
        scores,
        ...more,
        duplicate_of: columns["duplicate_of"],
        how: made.how,
      });
    }
    await this.writeText("metadata.jsonl", rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
    for (const name of await readdir(videos)) if (!names.has(name) && OWN.test(name)) await rm(join(videos, name));
    return rows;
  }

  /** Writes a file of the data set's folder, whole or not at all. */
  async writeText(name: string, text: string): Promise<void> {
    await using output = await openOutput(join(this.options.out, name), "file", "--out");
    await output.write(new TextEncoder().encode(text));
    await output.commit();
  }

  async curvesAt(file: string): Promise<Curves> {
    return decodeCurves(new Uint8Array(await readFile(file)), file);
  }

  #at(kind: string, name: string): string {
    return join(this.options.out, WORK_FOLDER, kind, name);
  }

  /** @param name of the file, where `path` says more */
  #refuse(path: string, stage: string, { message: said, name: old }: StageError, name = path): undefined {
    const message = old === undefined || old === name ? said : said.replace(`] ${old}`, () => `] ${name}`);
    const known = this.refused.some((one) => one.path === path && one.stage === stage && one.message === message);
    if (!known) this.refused.push({ path, stage, message });
    return undefined;
  }

  /** A file by its content. What was not changed since it was last hashed is not hashed again. */
  async #sourceOf(file: FoundFile): Promise<Source | undefined> {
    const { path, full, bytes, changed, error } = file;
    if (error !== undefined) {
      const message = `[scan] ${path} must be a file that can be read, got ${error}; remove it, or give rights to it`;
      if (this.ledger.of(path).at(-1)?.error?.message !== message)
        this.ledger.append({
          stage: "file",
          key: resultKey("file", 1, { path, error }, []),
          of: path,
          error: { message, retry: true },
          ms: 0,
        });
      return this.#refuse(path, "scan", { message });
    }
    const key = resultKey("file", 1, { path, bytes, changed }, []);
    const { value, error: failed } = await this.#stage<{ hash: string }>(
      "file",
      key,
      { hash: path },
      async () => (await this.#pool.run({ path: full, name: path, task: { task: "digest" } })) as never,
    );
    return failed ? this.#refuse(path, "scan", failed) : { hash: value!.hash, path, bytes };
  }

  /**
   * A result of the ledger's, where it has one that holds; else the work is done and written down.
   * @param of what, and what messages call it
   */
  async #stage<Value>(
    stage: string,
    key: string,
    { hash: of, path: name }: { readonly hash: string; readonly path?: string },
    work: () => Promise<Value>,
    holds: (value: Value) => boolean = () => true,
  ): Promise<StageResult<Value>> {
    const found = this.ledger.find<Value>(key);
    if (found && (found.error || holds(found.value!))) return found;
    this.options.signal?.throwIfAborted();
    const began = performance.now();
    const row = (rest: Pick<StageResult<Value>, "value" | "error">): StageResult<Value> => {
      const result = { stage, key, of, ...rest, ms: Math.round(performance.now() - began) };
      this.ledger.append(result);
      return result;
    };
    try {
      return row({ value: await work() });
    } catch (error) {
      this.options.signal?.throwIfAborted();
      if (!(error instanceof CogwheelError)) throw error;
      const { retry, twice } = error as { retry?: true; twice?: true };
      const again = twice && this.ledger.of(of).some((one) => one.key === key && one.error?.twice);
      const passes = twice ? { twice, ...(again ? {} : { retry: true as const }) } : retry ? { retry } : {};
      return row({ error: { message: error.message, ...passes, ...(name === undefined ? {} : { name }) } });
    }
  }

  /** Works on all of them, twice as many at a time as the pool takes, and tells how far it is; results in the order of the items. */
  async #each<Item, Result>(stage: string, items: readonly Item[], work: (item: Item) => Promise<Result>): Promise<Result[]> {
    const results = new Array<Result>(items.length);
    let next = 0;
    let done = 0;
    const lane = async (): Promise<void> => {
      while (next < items.length) {
        const at = next++;
        this.options.signal?.throwIfAborted();
        results[at] = await work(items[at]!);
        this.options.onProgress?.(stage, ++done / items.length, `${done} of ${items.length}`);
      }
    };
    const lanes = Array.from({ length: Math.min(items.length, 2 * this.#pool.size) }, lane);
    const failed = (await Promise.allSettled(lanes)).find((one) => one.status === "rejected");
    await this.ledger.flush();
    if (failed) throw (failed as PromiseRejectedResult).reason;
    return results;
  }
}

/** Names of clips' files. */
const OWN = /^[0-9a-f]{16}\.\w+$/;

/** Whether a curation was begun in a folder. */
export const isCurated = (out: string): Promise<boolean> =>
  access(join(out, WORK_FOLDER, "ledger.jsonl")).then(
    () => true,
    () => false,
  );
