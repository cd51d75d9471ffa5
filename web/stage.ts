/** The stage: the run as it goes, or a finished video with its buttons. What was finished is never taken away by what fails after it. */
import { bytesText } from "../src/base/units.ts";
import { visible } from "../src/base/visible.ts";
import type { RgbaFrame } from "../src/index.ts";
import type { Client } from "./client.ts";
import { byId, download, twice } from "./dom.ts";
import { historyStrip } from "./history.ts";
import { Player } from "./player.ts";
import type { Made } from "./protocol.ts";
import { sample } from "./sample.ts";
import { duration } from "./text.ts";
import type { Tell } from "./trouble.ts";

export interface Stage {
  /** A run begins: what comes of it is shown, until somebody looks at another video. */
  begin(): void;
  preview(frames: RgbaFrame[], fps: number, words: string): void;
  done(made: Made): void;
  /** A run is over without a video: the one before is there again. @param keep without one before, what there is of this one stays */
  ended(keep: boolean): void;
  /** Several videos of one size at once, each of which can be chosen below. */
  together(all: readonly Made[]): void;
  /** The video that is on the stage, or was before the run that is. */
  made(): Made | undefined;
}

/** @param onRecall an earlier video was brought back: its settings are to be, too */
export function stage(client: Client, tell: Tell, onRecall: (made: Made) => void): Stage {
  const player = new Player(byId<HTMLCanvasElement>("canvas"));
  const [caption, buttons, back] = [byId("caption"), byId("result"), byId("watch")];
  const clips = sample(player, "Six videos of the model that comes with this page. Yours will play here.");
  const [play, compare] = [byId<HTMLButtonElement>("play"), byId<HTMLButtonElement>("compare")];
  const split = byId<HTMLInputElement>("split");
  let made: Made | undefined;
  let running = false;
  let watching = true;
  let live: (() => void) | undefined;

  function show(shown: Made): void {
    made = shown;
    clips.hide();
    const { settings: s, frames, seconds, peakBytes, kept } = shown;
    player.show(frames, s.fps, `Video: ${s.prompt}`);
    beside(false);
    const total = Object.values(seconds).reduce((a, b) => a + b, 0);
    caption.textContent =
      `“${visible(s.prompt)}” · seed ${s.seed} · ${s.width} × ${s.height}, ` +
      `${frames.length} ${frames.length === 1 ? "frame" : "frames"} · made in ${duration(total)} with ${bytesText(peakBytes)}`;
    pause(false);
    buttons.hidden = false;
    byId("forget").hidden = kept === null;
    back.hidden = !running;
    strip.mark(kept?.id ?? null);
  }
  function pause(on: boolean): void {
    player.paused = on;
    play.textContent = on ? "Play" : "Pause";
  }
  /** Whether the next one that is chosen is shown beside the one that is there. */
  function beside(on: boolean): void {
    compare.setAttribute("aria-pressed", String(on));
    byId("outcome").textContent = on ? "Choose another video below: it is shown beside this one." : "";
    byId("split-box").hidden = true;
  }
  function pair(left: Made, right: Made): void {
    const [a, b] = [left, right].map(({ settings: { prompt, seed } }) => `“${visible(prompt)}”, seed ${seed}`);
    player.pair(left.frames, right.frames, left.settings.fps, `Left: ${a}. Right: ${b}`);
    byId("outcome").textContent = "";
    caption.textContent = `Left: ${a} · Right: ${b}`;
    pause(false);
    byId("split-box").hidden = false;
    split.value = "50";
    split.focus();
  }
  split.addEventListener("input", () => player.split(split.valueAsNumber / 100));
  compare.addEventListener("click", () => {
    if (compare.getAttribute("aria-pressed") === "true") show(made!);
    else beside(true);
  });
  const strip = historyStrip(client, tell, (recalled) => {
    const { kept } = recalled;
    if (made && compare.getAttribute("aria-pressed") === "true" && !buttons.hidden && kept?.id !== made.kept?.id)
      return pair(made, recalled);
    watching = false;
    show(recalled);
    onRecall(recalled);
  });
  function watch(): void {
    watching = true;
    back.hidden = buttons.hidden = true;
    beside(false);
    strip.mark(null);
    pause(false);
    live?.();
  }

  back.addEventListener("click", () => {
    watch();
    byId("cancel").focus();
  });
  play.addEventListener("click", () => pause(!player.paused));
  for (const format of ["mp4", "gif"] as const)
    byId(`save-${format}`).addEventListener("click", async () => {
      const { settings, kept } = made!;
      const video = kept?.id ?? null;
      try {
        const blob = await client
          .ask<Blob>({ type: "encode", format: format === "mp4" && !("VideoEncoder" in window) ? "gif" : format, video })
          .catch((error: Error) => {
            // A browser without H.264 and VP9 in MP4 may still write WebM.
            if (format === "mp4") return client.ask<Blob>({ type: "encode", format: "webm", video });
            throw error;
          });
        const type = blob.type.split("/")[1]!;
        if (type !== format)
          byId("outcome").textContent = `This browser cannot write ${format.toUpperCase()}: it is saved as ${type.toUpperCase()}.`;
        download(blob, `${slug(settings.prompt)}-${settings.seed}.${type}`);
      } catch (error) {
        tell((error as Error).message);
      }
    });
  twice(byId<HTMLButtonElement>("forget"), "Remove it for good", async () => {
    await strip.remove(made!.kept!.id);
    made = undefined;
    buttons.hidden = true;
    clips.show();
    byId("outcome").textContent = "Removed.";
    byId("start").focus();
  });

  clips.show();
  return {
    begin() {
      clips.hide();
      running = true;
      live = undefined;
      watch();
    },
    preview(frames, fps, words) {
      live = () => {
        if (frames.length) player.show(frames, fps, words, true);
        caption.textContent = words;
      };
      if (watching) live();
    },
    done(finished) {
      running = false;
      if (finished.kept) strip.add(finished.kept);
      if (watching || !made) show(finished);
      else {
        back.hidden = true;
        strip.mark(made.kept?.id ?? null);
      }
    },
    ended(keep) {
      running = false;
      back.hidden = true;
      if (made) show(made);
      else if (!keep || !live) clips.show();
    },
    together(all) {
      const last = all.at(-1)!;
      if (!watching && made !== last) return;
      show(last);
      const { prompt, fps } = last.settings;
      player.grid(
        all.map(({ frames }) => frames),
        fps,
        `${all.length} videos: ${prompt}`,
      );
      caption.textContent = `“${visible(prompt)}” · seeds ${all.map(({ settings }) => settings.seed).join(", ")}`;
      byId("outcome").textContent = "Row by row. Choose one below to see it by itself; the buttons are for the last one.";
    },
    made: () => made,
  };
}

const slug = (text: string): string =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "")
    .slice(0, 48) || "video";
