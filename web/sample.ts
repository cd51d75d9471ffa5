/** What the stage shows before the first video: clips that the embedded model made, which come with the page. */
import { byId } from "./dom.ts";
import type { Player } from "./player.ts";

/** Made by `npm run docs:pictures`: frames of this size, one below the other. */
const CLIPS = { file: "sample.jpg", width: 200, height: 132, fps: 8 };

export interface Sample {
  /** There is nothing else to see. */
  show(): void;
  /** There is something else on the player, or will be. */
  hide(): void;
}

/** Plays them on the stage's player, with a button of their own that stops them. @param words below them */
export function sample(player: Player, words: string): Sample {
  const button = byId("sample-play");
  let wanted = false;
  const pause = (on: boolean): void => {
    player.paused = on;
    button.textContent = on ? "Play" : "Pause";
  };
  button.addEventListener("click", () => pause(!player.paused));

  async function load(): Promise<void> {
    const picture = Object.assign(new Image(), { src: new URL(CLIPS.file, import.meta.url).href });
    await picture.decode();
    if (!wanted) return;
    const { width, height, fps } = CLIPS;
    const { naturalWidth, naturalHeight } = picture;
    const canvas = Object.assign(document.createElement("canvas"), { width: naturalWidth, height: naturalHeight });
    const context = canvas.getContext("2d", { willReadFrequently: true })!;
    context.drawImage(picture, 0, 0);
    const frames = Array.from({ length: naturalHeight / height }, (_, i) => {
      const { data } = context.getImageData(0, i * height, width, height);
      return { width, height, data: new Uint8Array(data.buffer) };
    });
    player.show(frames, fps, "Six videos of the model that comes with this page: coloured shapes that move");
    byId("caption").textContent = words;
    button.hidden = false;
    pause(matchMedia("(prefers-reduced-motion: reduce)").matches);
  }
  return {
    show() {
      wanted = true;
      // Without the picture the stage is empty, which is no matter.
      void load().catch(() => undefined);
    },
    hide() {
      wanted = false;
      button.hidden = true;
    },
  };
}
