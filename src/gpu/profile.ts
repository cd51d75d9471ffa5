/**
 * GPU time by dispatch, from timestamp queries around one pass each; where an adapter has none, the profile says so and
 * holds counts and costs alone. Beside it what the host did meanwhile for weights that are streamed: reading, and waiting for them.
 * Prints as a table by kernel and as a Chrome trace (chrome://tracing, ui.perfetto.dev).
 */
import "../base/dispose.ts";
import type { Gpu, OwnedBuffer } from "./gpu.ts";

export interface ProfileEntry {
  /** The specialised kernel. */
  readonly label: string;
  readonly node: string;
  readonly flops: number;
  readonly bytes: number;
  /** How the kernel was chosen, where there was a choice (docs/tuning.md). */
  readonly chosen?: string | null;
}
export interface ProfiledDispatch extends ProfileEntry {
  /** Nanoseconds on the GPU's clock; both 0 without timestamps. */
  readonly begin: number;
  readonly end: number;
}
/** What the host did, on its own clock. */
export interface HostSpan {
  /**
   * read: bytes of a weight come from where they are stored · weight: a weight comes, from its first read until it is on its way to the
   * device · wait: a run waits for weights · submit: from a submit until its work is known to be done
   */
  readonly kind: "read" | "weight" | "wait" | "submit";
  readonly name: string;
  /** Milliseconds, as performance.now counts them. */
  readonly begin: number;
  readonly end: number;
  readonly bytes: number;
}
/** All runs of one kernel together. */
export interface ProfileRow {
  readonly label: string;
  readonly count: number;
  readonly ms: number;
  readonly share: number;
  readonly gflops: number;
  readonly gbytes: number;
  /** `tuned`, `partly tuned`, `by capability` or several of them; empty for kernels without rivals. */
  readonly chosen: string;
}

const CAPACITY = 1024;
/** From top to bottom in a trace. */
const HOST_ROWS: readonly HostSpan["kind"][] = ["submit", "wait", "weight", "read"];

type Span = Pick<HostSpan, "begin" | "end">;

/** The same times, each once, in order. */
function joined(spans: readonly Span[]): Span[] {
  const out: { begin: number; end: number }[] = [];
  for (const { begin, end } of [...spans].sort((a, b) => a.begin - b.begin)) {
    const last = out.at(-1);
    if (last && begin <= last.end) last.end = Math.max(last.end, end);
    else out.push({ begin, end });
  }
  return out;
}

/** Collects GPU time by dispatch: give it to a generation as `gpuProfile`, or to `Program.run`. */
export class Profile implements Disposable {
  readonly dispatches: ProfiledDispatch[] = [];
  readonly host: HostSpan[] = [];
  readonly #gpu: Gpu;
  readonly #queries: GPUQuerySet | null;
  readonly #resolve: OwnedBuffer | null;
  #pending: ProfileEntry[] = [];

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
    this.#queries = gpu.caps.timestamps ? gpu.device.createQuerySet({ label: "profile", type: "timestamp", count: 2 * CAPACITY }) : null;
    this.#resolve = this.#queries ? gpu.buffer("profile", 16 * CAPACITY, GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC) : null;
  }

  begin(_encoder: GPUCommandEncoder): void {
    this.#pending = [];
  }

  pass(encoder: GPUCommandEncoder, entry: ProfileEntry): GPUComputePassEncoder {
    const i = this.#pending.length;
    this.#pending.push(entry);
    return encoder.beginComputePass(
      this.#queries
        ? {
            label: entry.label,
            timestampWrites: { querySet: this.#queries, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 },
          }
        : { label: entry.label },
    );
  }

  end(encoder: GPUCommandEncoder): void {
    if (this.#queries && this.#pending.length)
      encoder.resolveQuerySet(this.#queries, 0, 2 * this.#pending.length, this.#resolve!.buffer, 0);
  }

  /** Reads the times of the passes since `begin`; call after the submit. */
  async collect(): Promise<void> {
    const entries = this.#pending;
    this.#pending = [];
    if (!entries.length) return;
    const times = this.#resolve ? new BigUint64Array(await this.#gpu.read(this.#resolve.buffer, 0, 16 * entries.length)) : null;
    for (const [i, entry] of entries.entries())
      this.dispatches.push({ ...entry, begin: times ? Number(times[2 * i]!) : 0, end: times ? Number(times[2 * i + 1]!) : 0 });
  }

  get timed(): boolean {
    return this.#queries !== null;
  }

  /** By kernel, most time first. */
  rows(): ProfileRow[] {
    const byLabel = new Map<string, { count: number; ns: number; flops: number; bytes: number; chosen: Set<string> }>();
    let total = 0;
    for (const d of this.dispatches) {
      const row = byLabel.get(d.label) ?? byLabel.set(d.label, { count: 0, ns: 0, flops: 0, bytes: 0, chosen: new Set() }).get(d.label)!;
      row.count++;
      if (d.chosen) row.chosen.add(d.chosen);
      row.ns += d.end - d.begin;
      row.flops += d.flops;
      row.bytes += d.bytes;
      total += d.end - d.begin;
    }
    const rate = (n: number, ns: number) => (ns > 0 ? n / ns : 0);
    return [...byLabel]
      .map(([label, r]) => ({
        label,
        count: r.count,
        ms: r.ns / 1e6,
        share: total ? r.ns / total : 0,
        gflops: rate(r.flops, r.ns),
        gbytes: rate(r.bytes, r.ns),
        chosen: [...r.chosen].sort().join(", "),
      }))
      .sort((a, b) => b.ms - a.ms);
  }

  /**
   * Milliseconds of reading weights, and how many of them the device was at work meanwhile, by the host's clock: what is read
   * while it works costs no time.
   */
  reading(): { read: number; overlapped: number } {
    const union = (kind: HostSpan["kind"]) => joined(this.host.filter((span) => span.kind === kind));
    const [reads, work] = [union("read"), union("submit")];
    const length = (spans: readonly Span[]) => spans.reduce((ms, { begin, end }) => ms + end - begin, 0);
    const common = reads.flatMap((r) => work.map((w) => ({ begin: Math.max(r.begin, w.begin), end: Math.min(r.end, w.end) })));
    return { read: length(reads), overlapped: length(common.filter(({ begin, end }) => end > begin)) };
  }

  /** The trace-event format of Chrome and Perfetto: dispatches on the GPU's clock, beneath them what the host did. */
  chromeTrace(): string {
    const start = this.dispatches[0]?.begin ?? 0;
    // The two clocks have no common zero: the first dispatch begins when the first submit does.
    const hostStart = this.host.find(({ kind }) => kind === "submit")?.begin ?? 0;
    const earliest = Math.min(0, ...this.host.map(({ begin }) => begin - hostStart));
    const event = (name: string, cat: string, tid: number, ts: number, dur: number, args: object) => ({
      name,
      cat,
      ph: "X",
      pid: 1,
      tid,
      ts: ts - 1e3 * earliest,
      dur,
      args,
    });
    return JSON.stringify({
      displayTimeUnit: "ms",
      traceEvents: [
        ...this.dispatches.map(({ label, begin, end, node, flops, bytes }) =>
          event(label, "gpu", 1, (begin - start) / 1e3, (end - begin) / 1e3, { node, flops, bytes }),
        ),
        ...this.host.map(({ kind, name, begin, end, bytes }) =>
          event(name, kind, 2 + HOST_ROWS.indexOf(kind), 1e3 * (begin - hostStart), 1e3 * (end - begin), { bytes }),
        ),
      ],
    });
  }

  [Symbol.dispose](): void {
    this.#queries?.destroy();
    this.#resolve?.[Symbol.dispose]();
  }
}
