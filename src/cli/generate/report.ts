/**
 * `generate --report FILE.html`: a run to look at, in one file that can be sent with a bug: the clip, what it was made with, how it came
 * about, time and memory by stage, GPU time by kernel. Of a run that failed it has what there was.
 */
import { readFile, stat } from "node:fs/promises";
import { extname } from "node:path";
import { peakResidentBytes } from "#platform";
import { kernelsVersion } from "../../../build/kernels-version.ts";
import { escaped } from "../../base/html.ts";
import { bytesText, bytesUnit } from "../../base/units.ts";
import type { Profile, ProfileRow } from "../../gpu/profile.ts";
import type { Generation, GenerationStep } from "../../pipelines/generation.ts";
import type { CogVideoX } from "../../pipelines/cogvideox/pipeline.ts";
import type { GenerationRequest } from "../../pipelines/cogvideox/request.ts";
import { withSeconds } from "../../pipelines/cogvideox/seconds.ts";
import { stepsText } from "../../pipelines/settings.ts";
import type { Video } from "../../pipelines/video.ts";
import { encodeVideo } from "../../video/encode.ts";
import { writeWhole } from "../files.ts";
import { system, versions } from "../machine.ts";
import { plannedTable } from "../report/planned.ts";
import { timeline, type Span } from "../report/timeline.ts";
import { treemap } from "../report/treemap.ts";
import { duration } from "../terminal/progress.ts";
import { chart, picture, runPage } from "../report/page.ts";

/** Steps that are shown, evenly spaced. */
const MOST_PREVIEWS = 24;
/** A clip that is larger is named, not held. */
const MOST_CLIP_BYTES = 64e6;
/** Files that a page can show. */
const TYPES: Readonly<Record<string, string>> = { ".mp4": "video/mp4", ".webm": "video/webm", ".gif": "image/gif", ".png": "image/png" };
/** Moments of the memory's curve: on a long run later ones come seldom enough to keep within. */
const MOST_MOMENTS = 20_000;

interface Preview {
  readonly step: number;
  readonly png: Uint8Array;
}

/** Watches a generation, and tells of it. */
export class GenerateReport {
  readonly #model: CogVideoX;
  readonly #began = performance.now();
  readonly #spans: Span[] = [];
  readonly #memory: [seconds: number, bytes: number][] = [];
  readonly #steps: [step: number, seconds: number][] = [];
  readonly #previews: Preview[] = [];
  readonly warnings: string[] = [];

  constructor(
    model: CogVideoX,
    private readonly path: string,
    private readonly profile: Profile | undefined,
  ) {
    this.#model = model;
  }

  /** As `onProgress` tells it. */
  progress(stage: string, done: number): void {
    const at = (performance.now() - this.#began) / 1000;
    const last = this.#spans.at(-1);
    if (last?.name === stage) this.#spans[this.#spans.length - 1] = { ...last, end: at };
    else this.#spans.push({ name: stage, begin: at, end: at });
    if (done === 0 || done === 1 || this.#memory.length < MOST_MOMENTS) this.#memory.push([at, this.#model.gpu.memory.allocated]);
  }

  /** Keeps a preview of some of the steps. What goes wrong with the generation is left to whoever awaits it. */
  async follow(run: Generation): Promise<void> {
    try {
      for await (const step of run) await this.#step(step);
    } catch {
      // see above
    }
  }

  async #step({ step, steps, seconds, preview }: GenerationStep): Promise<void> {
    this.#steps.push([step, seconds]);
    const every = Math.ceil(steps / MOST_PREVIEWS);
    if (step !== 1 && step !== steps && step % every !== 0) return;
    const frames = preview();
    const middle = frames[frames.length >> 1];
    if (middle) this.#previews.push({ step, png: await encodeVideo([middle], { format: "png", fps: 1 }) });
  }

  /** Writes it. @param error why there is no video */
  async write(request: GenerationRequest, made: Video | undefined, files: readonly string[], error?: Error): Promise<void> {
    const { prompt, negative } = request.options;
    const failed = error ? `<p><strong>It was not finished:</strong> ${escaped(error.message)}</p>` : "";
    const memory = bytesUnit(this.#memory.reduce((most, [, bytes]) => Math.max(most, bytes), 0));
    const page = runPage({
      title: prompt,
      facts: { ...(negative ? { "not to show": negative } : {}), ...this.#facts(request, made) },
      above: `${failed}${made ? await clip(made, files[0]) : ""}${this.#pictures()}`,
      charts: [
        chart(
          `memory on the adapter, ${memory.unit}, over seconds`,
          [{ name: "memory", points: this.#memory.map(([at, bytes]) => [at, bytes / memory.bytes]) }],
          {
            most: this.#memory.at(-1)?.[0] ?? 1,
            unit: duration(this.#memory.at(-1)?.[0] ?? 0),
            marks: [],
          },
        ),
        chart("seconds of each step", [{ name: "seconds", points: this.#steps }], {
          most: request.settings.steps,
          unit: `step ${request.settings.steps}`,
          marks: [],
        }),
      ],
      below: [this.#time(request), this.#kernels(), this.#notes()].join("\n"),
    });
    await writeWhole(this.path, new TextEncoder().encode(page), "--report");
  }

  #facts({ settings, seed, task, options, requirements, plan }: GenerationRequest, made: Video | undefined): Record<string, string> {
    const { gpu, dtype, checkpoint } = this.#model;
    const { adapter, driver } = gpu.tuningHeader;
    const { platform, release, arch, cpu, cores, memory } = system();
    const { cogwheel, node, webgpu } = versions();
    const resident = peakResidentBytes();
    const { compiled, ms } = gpu.pipelines.stats;
    const planned = Math.max(...requirements.map(({ peak }) => peak));
    return {
      model: `${checkpoint.source.label}, ${dtype}`,
      video:
        `${settings.width}×${settings.height}, ${settings.frames} frames at ${settings.fps} a second` +
        `${(options.samples ?? 1) > 1 ? `, ${options.samples} samples` : ""}${task === "text" ? "" : `, from ${task}`}`,
      settings: `${stepsText(settings)}, guidance ${settings.guidance}, seed ${seed}`,
      ...(options.loras?.length ? { adapters: String(options.loras.length) } : {}),
      time: made ? duration(Object.values(made.seconds).reduce<number>((sum, seconds) => sum + (seconds ?? 0), 0)) : "not finished",
      memory:
        `${bytesText(gpu.memory.peak, 1)} of the adapter at most, planned ${bytesText(planned, 1)}` +
        `${plan.limit === undefined ? "" : ` within ${bytesText(plan.limit, 1)}`}${resident ? `; process ${bytesText(resident, 1)}` : ""}`,
      pipelines: `${compiled} compiled in ${duration(ms / 1000)}`,
      adapter: `${gpu.name}${gpu.caps.kind === "software" ? " (software)" : ""}${gpu.advice ? `; ${gpu.advice}` : ""}`,
      driver: [...new Set([...Object.values(adapter), driver])].filter(Boolean).join(", "),
      machine: `${cpu}, ${cores} cores, ${bytesText(memory)} of memory, ${platform} ${release} ${arch}`,
      versions: `cogwheel ${cogwheel}, kernels ${kernelsVersion}, node ${node}${webgpu ? `, dawn ${webgpu}` : ""}`,
    };
  }

  #pictures(): string {
    if (this.#previews.length === 0) return "";
    const cells = this.#previews.map(({ step, png }) => `<figure>${picture(png, `step ${step}`)}<figcaption>${step}</figcaption></figure>`);
    return `<h2>how it came about: a frame after each of these steps</h2><div class="strip">${cells.join("")}</div>`;
  }

  #time(request: GenerationRequest): string {
    if (this.#spans.length === 0) return "";
    // The first run on a machine learns its rates after it was planned.
    const { rates } = this.#model;
    const requirements = withSeconds([...request.requirements], rates && this.#model.times(rates, request));
    return `<h2>time by stage</h2>${timeline(this.#spans)}<h2>planned</h2>${plannedTable(requirements)}`;
  }

  #kernels(): string {
    const { profile } = this;
    const rows = profile?.rows() ?? [];
    if (!profile || rows.length === 0) return "";
    const work = new Map<string, number>();
    for (const { label, flops } of profile.dispatches) work.set(label, (work.get(label) ?? 0) + flops);
    const value = ({ label, ms }: ProfileRow): number => (profile.timed ? ms : work.get(label)!);
    const whole = rows.reduce((sum, row) => sum + value(row), 0);
    const share = (row: ProfileRow): string => `${((100 * value(row)) / whole).toFixed(1)} %`;
    const items = rows.map((row) => ({
      name: row.label,
      value: value(row),
      group: row.label.split(" ", 1)[0]!,
      title: `${row.label}: ${row.count} runs, ${profile.timed ? `${row.ms.toFixed(1)} ms, ` : ""}${share(row)}`,
    }));
    const cells = rows.map(
      (row) =>
        `<tr><td>${escaped(row.label)}</td><td>${row.count}</td><td>${profile.timed ? row.ms.toFixed(1) : ""}</td>` +
        `<td>${share(row)}</td><td>${escaped(row.chosen)}</td></tr>`,
    );
    const title = profile.timed ? "GPU time by kernel" : "operations by kernel (this adapter tells no times)";
    return (
      `<h2>${title}</h2>${treemap(items, title)}<details><summary>as a table</summary><table>` +
      `<tr><th>kernel</th><th>runs</th><th>ms</th><th>share</th><th>chosen</th></tr>${cells.join("")}</table></details>`
    );
  }

  #notes(): string {
    if (this.warnings.length === 0) return "";
    return `<h2>warnings</h2><ul>${this.warnings.map((warning) => `<li>${escaped(warning)}</li>`).join("")}</ul>`;
  }
}

/** The first video inside the page: its file, where a page can show such. */
async function clip(made: Video, file: string | undefined): Promise<string> {
  const type = file === undefined ? undefined : TYPES[extname(file).toLowerCase()];
  const size = type && (await stat(file!).catch(() => undefined))?.size;
  if (size && size > MOST_CLIP_BYTES) return `<p>The clip has ${bytesText(size)}, too much for this page: ${escaped(file!)}</p>`;
  const still = made.settings.frames === 1;
  const bytes = size ? await readFile(file!) : await encodeVideo(made.frames, { format: still ? "png" : "mp4", fps: made.settings.fps });
  const as = size ? type! : still ? "image/png" : "video/mp4";
  const source = `data:${as};base64,${Buffer.from(bytes).toString("base64")}`;
  return as.startsWith("video")
    ? `<video class="clip" controls loop muted autoplay src="${source}"></video>`
    : `<img class="clip" alt="${escaped(made.settings.prompt)}" src="${source}">`;
}
