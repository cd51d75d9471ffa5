/** Shots, and clips in them of the length that a model takes. */
import type { Curves } from "../curves/columns.ts";
import { clipId } from "../ledger/key.ts";
import type { MediaFacts, SourceClip } from "../types.ts";
import type { Transition } from "./detect.ts";

/** Frames from `from` up to `to`, which is not in it. */
export interface Shot {
  readonly from: number;
  readonly to: number;
}

/** How long clips are, and where in their shots they lie. */
export interface ClipLengths {
  /** What a model takes: so many frames at so many a second. */
  readonly frames: number;
  readonly fps: number;
  /** Frames of the source that are left out at both ends of a shot, where stray ones of its neighbours may be. */
  readonly margin: number;
  /** Seconds of a clip at least; a shot that is shorter gives none. */
  readonly shortest: number;
  /** Seconds that a clip may begin later, where a key frame is: its packets are copied then, and not encoded anew. */
  readonly snap: number;
}

/** 49 frames at 8 a second, as CogVideoX takes them. */
export const CLIP_DEFAULTS: ClipLengths = { frames: 49, fps: 8, margin: 3, shortest: 2, snap: 1 };

/** What lies between the changes of shot; frames of gradual ones are in none. */
export function shotsOf({ frames }: Curves, transitions: readonly Transition[]): Shot[] {
  const shots: Shot[] = [];
  let from = 0;
  for (const { from: end, to } of transitions) {
    if (end > from) shots.push({ from, to: Math.min(end, frames) });
    from = Math.max(from, to);
  }
  if (from < frames) shots.push({ from, to: frames });
  return shots;
}

/** A clip with the frames that it is of, and whether its packets can be copied. */
export interface PlannedClip extends SourceClip {
  readonly from: number;
  readonly to: number;
  readonly copies: boolean;
  /** Frames a second where it is encoded anew, if they are not `fps`. */
  readonly rate?: number;
}

/** Seconds that a clip needs, so that its last frame is shown when the model's last one is taken. */
const secondsOf = ({ frames, fps }: ClipLengths): number => (frames - 1) / fps + 0.02;

/** Clips of a film, in order. A picture is one clip of one frame. */
export function clipsOf(source: string, facts: MediaFacts, curves: Curves, shots: readonly Shot[], options: ClipLengths): PlannedClip[] {
  if (facts.kind === "picture") return [clipOf(source, facts, curves, 0, 1, true)];
  const clips: PlannedClip[] = [];
  const length = secondsOf(options);
  for (const shot of shots) {
    // Where the encoder began anew just at the cut, it saw it too: no stray frames are before it.
    const exact = shot.to === curves.frames || (curves.keys[shot.to] === 1 && curves.breaks[shot.to] === 1);
    const end = exact ? shot.to : shot.to - options.margin;
    let from = beginIn(curves, { from: shot.from, to: end }, shot.from === 0 ? 0 : shot.from + options.margin, options);
    while (from < end) {
      const key = curves.keys[from] === 1 && curves.breaks[from] === 1;
      const wanted = curves.frameAt(curves.seconds[from]! + length);
      // Where packets are copied, a clip ends where nothing behind it is needed: a few frames later.
      const last = key ? nextBreak(curves, Math.min(wanted, end), end) : undefined;
      const to = last ?? Math.min(wanted, end);
      if (curves.timeOf(to) - curves.seconds[from]! < options.shortest - 1e-6) break;
      clips.push(clipOf(source, facts, curves, from, to, last !== undefined));
      from = beginIn(curves, { from: to, to: end }, to, options);
    }
  }
  return clips;
}

/** Why a film gives no clip. */
export function whyNone(curves: Curves, shots: readonly Shot[], { shortest }: ClipLengths): string {
  const longest = shots.reduce((most, { from, to }) => Math.max(most, curves.timeOf(to) - curves.seconds[from]!), 0);
  if (longest === 0) return "it has no shot: all of it is black, or part of a fade or another gradual change";
  return `its longest shot has ${Number(longest.toFixed(2))} s, a clip has ${shortest} s at least (cut.shortest), beside margins`;
}

/** The frame that a clip begins at: a key frame that copying can begin at where one is near, else the first. */
function beginIn(curves: Curves, shot: Shot, first: number, options: ClipLengths): number {
  const { keys, breaks, frames } = curves;
  if (first >= frames) return first;
  const latest = Math.min(
    curves.seconds[first]! + options.snap,
    // No clip becomes too short for it.
    curves.timeOf(shot.to) - secondsOf(options) - 1 / options.fps,
  );
  // A key frame just on the cut is where the encoder saw it too: no stray frame is behind it.
  for (let i = shot.from; i < shot.to && (i <= first || curves.seconds[i]! <= latest); i++) if (keys[i] === 1 && breaks[i] === 1) return i;
  return first;
}

/** Frames that the end of a shot may lose for a copy. */
const NEAR = 6;

/** The first place from `at` on, up to `end`, where copying may end; where `at` is that end, the last one, a few frames before it. */
function nextBreak({ breaks, frames }: Curves, at: number, end: number): number | undefined {
  const isBreak = (i: number): boolean => i === frames || breaks[i] === 1;
  for (let i = at; i <= end; i++) if (isBreak(i)) return i;
  if (at === end) for (let i = at; i > 0 && at - i <= NEAR; i--) if (isBreak(i)) return i;
  return undefined;
}

/** Frames a second that a film of variable rate is encoded at, at most. */
const MOST_RATE = 120;

/** One over the distance that pictures mostly have: times in whole milliseconds differ by one, so it is the mean of those that are near. */
function usualRate({ seconds }: Curves, from: number, to: number): number {
  const gaps = Array.from({ length: to - from - 1 }, (_, i) => seconds[from + i + 1]! - seconds[from + i]!).sort((a, b) => a - b);
  const usual = gaps[gaps.length >> 1] ?? 0;
  const near = gaps.filter((gap) => Math.abs(gap - usual) <= 0.0011 + 0.05 * usual);
  const mean = near.reduce((sum, gap) => sum + gap, 0) / near.length;
  return mean > 0 ? 1 / mean : 0;
}

function clipOf(
  source: string,
  { width, height, fps, variable }: MediaFacts,
  curves: Curves,
  from: number,
  to: number,
  copies: boolean,
): PlannedClip {
  const [start, end] = [curves.timeOf(from), curves.timeOf(to)].map((time) => Number(time.toFixed(6))) as [number, number];
  const seconds = end - start;
  const mean = seconds > 0 ? Number(((to - from) / seconds).toFixed(4)) : fps;
  const rate = variable ? Math.max(mean, Number(Math.min(usualRate(curves, from, to), MOST_RATE).toFixed(4))) : mean;
  return {
    id: clipId(source, start, end),
    source,
    start,
    end,
    fps: mean,
    ...(rate > mean ? { rate } : {}),
    frames: to - from,
    width,
    height,
    from,
    to,
    copies,
  };
}
