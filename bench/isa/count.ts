/**
 * Reads what RADV prints of a compiled shader (`RADV_DEBUG=cs,asm,shaderstats`): its statistics and the instruction mix of
 * its hottest loop, the one that does the most useful work itself, or one inside of it that does half as much.
 *
 * The measure is the share of useful work in the vector unit's issue slots. A slot is one vector instruction; a multiply-add is
 * useful, and so is a `v_dual_*` that pairs two of them; all other vector instructions (moves, addresses, conversions, exponentials)
 * are not. A 16×16×16 matrix instruction keeps the unit for 16 slots at least. Scalar, memory and workgroup-memory instructions issue
 * beside the vector unit and are counted, but take none of its slots.
 */

export interface IsaStats {
  readonly vgprs: number;
  readonly spills: number;
  readonly scratchBytes: number;
  readonly ldsBytes: number;
  /** Waves that fit a SIMD at once. */
  readonly waves: number;
  readonly instructions: number;
}

export interface HotLoop {
  readonly instructions: number;
  readonly fma: number;
  readonly matrix: number;
  /** Other vector instructions. */
  readonly vector: number;
  readonly scalar: number;
  readonly lds: number;
  /** Of `lds`, loads of 16 bytes a lane. */
  readonly ldsWide: number;
  readonly memory: number;
  /** Multiply-adds and matrix instructions, of all vector issue slots. */
  readonly useful: number;
  /** Matrix instructions alone. */
  readonly matrixShare: number;
  /** Useful share of the loop around it that holds all such loops: staging, softmax and the rest of a kernel's main loop count too. */
  readonly main: number;
}

export interface Isa {
  readonly stats: IsaStats;
  readonly loop: HotLoop | null;
}

const MATRIX_SLOTS = 16;

type Kind = "fma" | "matrix" | "half" | "vector" | "scalar" | "lds" | "memory" | "wait";

/** What an instruction is; `half`: a pair of which one is a multiply-add. */
function kindOf(line: string): Kind {
  const op = line.split(/\s/, 1)[0]!;
  if (/^v_s?wmma/.test(op)) return "matrix";
  if (/^v_dual/.test(op)) {
    const useful = line.match(/v_dual_(fmac|fma|fmaak|fmamk|dot2acc)/g)?.length ?? 0;
    return useful === 2 ? "fma" : useful === 1 ? "half" : "vector";
  }
  if (/^v_fma_mix(lo|hi)/.test(op)) return "vector"; // a conversion
  if (/^v_(fma|fmac|fmaak|fmamk|pk_fma|mad_f|mac_f|dot2|dot4)/.test(op)) return "fma";
  if (op.startsWith("ds_")) return "lds";
  if (/^(buffer|global|flat|scratch|image)_/.test(op)) return "memory";
  if (/^s_(waitcnt|wait|barrier|delay|clause|nop)/.test(op)) return "wait";
  return op.startsWith("v_") ? "vector" : "scalar";
}

const useful = (kinds: readonly Kind[]): number =>
  kinds.reduce((sum, kind) => sum + (kind === "fma" ? 1 : kind === "matrix" ? MATRIX_SLOTS : kind === "half" ? 0.5 : 0), 0);

interface Loop {
  readonly first: number;
  readonly last: number;
}

const inside = (a: Loop, b: Loop): boolean => a.first >= b.first && a.last <= b.last;

function count(lines: readonly string[]) {
  const kinds = lines.map(kindOf);
  const of = (kind: Kind): number => kinds.filter((k) => k === kind).length;
  return { kinds, of, work: useful(kinds), slots: of("fma") + of("half") + of("vector") + MATRIX_SLOTS * of("matrix") };
}

/**
 * The loop that does the most useful work itself, and the main loop around it. `trips`: how often each loop with useful work runs
 * in one round of the main loop, in their order, which the compiler's output does not say; none where there is but one loop.
 */
function loops(assembly: string, trips: readonly number[]): HotLoop | null {
  const blocks: { name: string; lines: string[] }[] = [];
  for (const line of assembly.split("\n")) {
    const label = /^(BB\d+):/.exec(line);
    if (label) blocks.push({ name: label[1]!, lines: [] });
    else if (/^\s+[a-z]+_/.test(line)) blocks.at(-1)?.lines.push(line.trim());
  }
  const index = new Map(blocks.map(({ name }, i) => [name, i]));
  const found = new Map<string, Loop>();
  blocks.forEach(({ lines }, last) => {
    for (const line of lines) {
      const target = /^s_c?branch\w*\s+(BB\d+)/.exec(line);
      const first = target ? index.get(target[1]!) : undefined;
      if (first !== undefined && first <= last) found.set(`${first} ${last}`, { first, last });
    }
  });
  const all = [...found.values()];
  const linesOf = ({ first, last }: Loop): string[] => blocks.slice(first, last + 1).flatMap((b) => b.lines);
  // What a loop does itself, outside of loops within it.
  const own = (loop: Loop): number => {
    const within = all.filter((other) => other !== loop && inside(other, loop));
    return useful(
      blocks
        .slice(loop.first, loop.last + 1)
        .filter((_, i) => !within.some(({ first, last }) => loop.first + i >= first && loop.first + i <= last))
        .flatMap((b) => b.lines.map(kindOf)),
    );
  };
  const busy = all.map((loop) => ({ loop, own: own(loop), ...count(linesOf(loop)) }));
  const most = busy.reduce<(typeof busy)[number] | undefined>((best, one) => (one.own > (best?.own ?? 0) ? one : best), undefined);
  if (!most) return null;
  // An inner loop runs more often than the text says.
  const hot =
    busy.filter((one) => one !== most && inside(one.loop, most.loop) && one.own >= most.own / 2).sort((a, b) => b.own - a.own)[0] ?? most;

  // Loops that only stage or convert hold a few; those that count hold a twentieth of the most at least.
  const working = busy.filter((one) => one.own >= hot.own / 20);
  const around =
    all
      .filter((a) => working.every(({ loop }) => inside(loop, a) && (trips.length === 0 || loop !== a)))
      .sort((a, b) => a.last - a.first - (b.last - b.first))[0] ?? hot.loop;
  const whole = count(linesOf(around));
  let [work, slots] = [whole.work, whole.slots];
  if (around !== hot.loop)
    working.forEach((one, i) => {
      work += ((trips[i] ?? 1) - 1) * one.work;
      slots += ((trips[i] ?? 1) - 1) * one.slots;
    });
  const { of, kinds } = hot;
  const lines = linesOf(hot.loop);
  return {
    instructions: lines.length,
    fma: of("fma"),
    matrix: of("matrix"),
    vector: of("vector") + of("half"),
    scalar: of("scalar") + of("wait"),
    lds: of("lds"),
    ldsWide: lines.filter((line) => /^ds_load_b128/.test(line)).length,
    memory: of("memory"),
    useful: hot.work / hot.slots,
    matrixShare: (MATRIX_SLOTS * kinds.filter((k) => k === "matrix").length) / hot.slots,
    main: work / slots,
  };
}

/** The compute shaders in RADV's output, in its order. */
export function readIsa(output: string, trips: readonly number[] = []): Isa[] {
  const shaders: Isa[] = [];
  const pattern = /Compute Shader\s*\ndisasm:\n([\s\S]*?)\*\*\* SHADER STATS \*\*\*\n([\s\S]*?)\*{10,}/g;
  for (const [, assembly, text] of output.matchAll(pattern)) {
    const stat = (name: string): number => Number(new RegExp(`^${name}: (\\d+)`, "m").exec(text!)?.[1] ?? NaN);
    shaders.push({
      stats: {
        vgprs: stat("VGPRs"),
        spills: stat("Spilled VGPRs") + stat("Spilled SGPRs"),
        scratchBytes: stat("Scratch size"),
        ldsBytes: stat("LDS size"),
        waves: stat("Subgroups per SIMD"),
        instructions: stat("Instructions"),
      },
      loop: loops(assembly!, trips),
    });
  }
  return shaders;
}
