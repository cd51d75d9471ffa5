/** Captions beside what they were made from: the frames that a model described, and what it said of each. */
import { escaped } from "../../base/html.ts";
import { picture } from "./html.ts";
import type { ReportedClip } from "./reported.ts";
import { wordsOfCaptions } from "./words.ts";

/** Captions that are shown with their frames. */
export const MOST_CAPTIONS = 60;

/** @param clips those that stay and have a caption */
export function captions(clips: readonly ReportedClip[]): string {
  if (clips.length === 0) return "";
  const left = clips.length - MOST_CAPTIONS;
  return (
    `<h2>Captions: ${clips.length}</h2>${wordsOfCaptions(clips.map(({ caption }) => caption))}` +
    `${clips.slice(0, MOST_CAPTIONS).map(captioned).join("\n")}${left > 0 ? `<p>and ${left} other captions</p>` : ""}`
  );
}

function captioned({ id, caption, picture: middle, told }: ReportedClip): string {
  const { short, model, violations = [], frames = [] } = told ?? {};
  const shown = frames.map(({ seconds, text, picture: jpeg }) => {
    const words = escaped(text);
    return `<figure title="${words}">${picture(jpeg)}<small><b>${seconds} s</b> ${words}</small></figure>`;
  });
  const summary = shown.length === 1 ? "one frame as it was described" : `${shown.length} frames as they were described`;
  const marks = violations.map((one) => `<small class="mark">${escaped(one)}</small>`);
  return (
    `<article class="captioned"><div>${picture(middle)}</div><div><p>${escaped(caption)}</p>${marks.join("")}` +
    `${short === undefined ? "" : `<p class="soft">${escaped(short)}</p>`}` +
    `<p class="soft"><code>${escaped(id)}</code>${model === undefined ? "" : ` by ${escaped(model)}`}</p>` +
    `${shown.length ? `<details><summary>${summary}</summary><div class="frames">${shown.join("")}</div></details>` : ""}` +
    `</div></article>`
  );
}
