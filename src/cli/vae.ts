/** `cogwheel vae encode` and `vae decode`: a video file to latents, and back. */
import { resolve } from "node:path";
import { framesOf } from "../models/vae/batches.ts";
import type { TilingReport } from "../models/vae/exact/run.ts";
import type { WorkerReport } from "../models/vae/split/run.ts";
import { writeVideoLatents } from "../pipelines/latents-file.ts";
import { readVideoLatents } from "../pipelines/read-latents.ts";
import { defined, type GenerateOptions } from "../pipelines/options.ts";
import { framesThatReturn, VideoVae, type DecodeLatentsOptions as RunOptions, type EncodeVideoOptions } from "../pipelines/video-vae.ts";
import type { WorkerPlace } from "../pipelines/workers/types.ts";
import { bytesText } from "../base/units.ts";
import { checkOutput, encodeVideo } from "../video/encode.ts";
import { gifWarning } from "../video/gif-delays.ts";
import { Attempts } from "./attempts.ts";
import { checkDistinct, checkOutputFile, readInput, writeWhole } from "./files.ts";
import type { DeviceFlags, ModelFlags } from "./flags.ts";
import { outputPaths } from "./output-paths.ts";
import { EMBEDDED_MODEL } from "./package-root.ts";
import { hubProgress } from "./terminal/hub-progress.ts";
import { interruptible, Interrupted } from "./terminal/interrupt.ts";
import { print, printPath } from "./terminal/output.ts";
import { Progress } from "./terminal/progress.ts";

export interface VaeFlags extends DeviceFlags, ModelFlags {
  out: string;
  workers?: number | readonly WorkerPlace[];
  split?: "time" | "space";
}
type RunFlags = Pick<GenerateOptions, "tiling" | "checkFinite">;

export async function encodeFile(
  file: string,
  { width, height, frames, fit, seed, ...run }: RunFlags & Pick<EncodeVideoOptions, "width" | "height" | "frames" | "fit" | "seed">,
  { out, ...open }: VaeFlags,
): Promise<void> {
  await checkOutputFile(out, "--out");
  await checkDistinct(
    [["--out", out]],
    [
      ["the command", file],
      ["--model", open.model],
      ["--vae", open.vae],
    ],
  );
  await withVae(open, run, async (vae, { signal, progress, run }) => {
    const { decodeVideo } = await import("../video/decode.ts");
    const video = await decodeVideo(file, {
      signal,
      onWarning: (message) => progress.note(message),
      ...(frames === undefined ? {} : { maxFrames: frames }),
    });
    const count = frames ?? framesThatReturn(video.frames.length, vae.ratio.temporal);
    if (frames === undefined && count < video.frames.length)
      progress.note(`${video.frames.length} frames; the first ${count} are encoded, for as many come back (8·k or 8·k + 1)`);
    const asked: EncodeVideoOptions = { ...run("encode"), frames: count, ...defined({ width, height, fit, seed }) };
    const latents = await vae.encode(video.frames, asked);
    await writeWhole(out, writeVideoLatents(latents, defined({ fps: video.fps })), "--out");
    const { spatial } = vae.ratio;
    print(
      `${count} frames of ${video.width}×${video.height}, taken at ${latents.width * spatial}×${latents.height * spatial} → ` +
        `latents [1, ${latents.frames}, ${latents.channels}, ${latents.height}, ${latents.width}], ` +
        `${seed === undefined ? "the posterior's mean" : `drawn with seed ${seed}`}, times ${vae.config.scaling_factor}`,
    );
  });
  printPath(resolve(out));
}

export async function decodeFile(file: string, { fps, ...run }: RunFlags & { fps?: number }, { out, ...open }: VaeFlags): Promise<void> {
  const written: string[] = [];
  await withVae(open, run, async (vae, { signal, progress, run }) => {
    const { videos, fps: saved } = await readVideoLatents(await readInput(file, { signal }), file, vae.ratio.temporal);
    const paths = outputPaths(out, videos.length);
    for (const [n, path] of paths.entries()) await checkOutput(path, { frames: framesOf(videos[n]!.frames, vae.config) });
    await checkDistinct(
      paths.map((path) => ["--out", path] as const),
      [
        ["the command", file],
        ["--model", open.model],
        ["--vae", open.vae],
      ],
    );
    const dropped = gifWarning(out, fps ?? saved ?? 8);
    if (dropped) progress.note(dropped);
    const results = new Attempts(signal);
    for (const [n, latents] of videos.entries()) {
      const frames = await vae.decode(latents, run("decode"));
      if (!(await results.attempt(() => encodeVideo(frames, { path: paths[n]!, fps: fps ?? saved ?? 8, signal })))) continue;
      written.push(resolve(paths[n]!));
      print(
        `latents [${latents.frames}, ${latents.channels}, ${latents.height}, ` +
          `${latents.width}] → ${frames.length} frames of ${frames[0]!.width}×${frames[0]!.height}`,
      );
    }
    progress[Symbol.dispose]();
    for (const path of written) printPath(path);
    results.throwFailures();
  });
}

/** Opens the VAE, and closes it after the work; Ctrl-C stops between dispatches. */
async function withVae(
  { model = EMBEDDED_MODEL, workers, split, ...open }: Omit<VaeFlags, "out">,
  { tiling, checkFinite }: RunFlags,
  work: (vae: VideoVae, tools: { signal: AbortSignal; progress: Progress; run: (what: string) => RunOptions }) => Promise<void>,
): Promise<void> {
  using progress = new Progress();
  using interruption = interruptible((text) => progress.note(text));
  const { signal } = interruption;
  try {
    await using vae = await VideoVae.open(model, {
      ...defined(open),
      signal,
      onWarning: (message) => progress.note(message),
      hub: { signal, ...hubProgress(progress) },
    });
    print(`${vae.gpu.name}${vae.gpu.caps.kind === "software" ? " (software)" : ""}, ${vae.dtype}`);
    if (vae.gpu.advice) print(vae.gpu.advice);
    await work(vae, {
      signal,
      progress,
      run: (what) => ({
        signal,
        ...defined({ tiling, checkFinite, workers, split }),
        onProgress: (done) => progress.report(what, done),
        onTiling: (report) => progress.note(tilingLine(report)),
        onWorkers: (reports) => {
          for (const report of reports) progress.note(workerLine(report, split === "space" ? "row" : "frame"));
        },
      }),
    });
  } catch (error) {
    throw signal.aborted && signal.reason instanceof Interrupted ? signal.reason : error;
  }
}

const tilingLine = (r: TilingReport): string =>
  `exact tiling: ${r.tiles} tiles, ${bytesText(r.deviceBytes)} of activations on the adapter and ${bytesText(r.hostBytes)} on the ` +
  `host at most, ${bytesText(r.trafficBytes)} moved in ${r.transferSeconds.toFixed(1)} of ${r.seconds.toFixed(1)} s, ` +
  `${((100 * r.flops) / r.wholeFlops - 100).toFixed(0)} % more work than the whole picture`;

const workerLine = (r: WorkerReport, what: "frame" | "row"): string =>
  `worker ${r.worker + 1}: latent ${what}${r.to - r.from > 1 ? `s ${r.from} to` : ""} ${r.to - 1}, gave ${r.haloBytes} bytes of ` +
  `${what === "frame" ? "frames" : "rows"} and ${r.normBytes} of norms, waited ${((100 * r.waitingSeconds) / r.seconds).toFixed(0)} % of ` +
  `${r.seconds.toFixed(1)} s, ${bytesText(r.deviceBytes)} on its device beside the weights`;
