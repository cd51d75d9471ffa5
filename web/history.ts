/** The strip of videos that this browser keeps: a click brings one back. */
import { visible } from "../src/base/visible.ts";
import type { Client } from "./client.ts";
import { byId, twice } from "./dom.ts";
import type { KeptVideo, Made } from "./protocol.ts";
import type { Tell } from "./trouble.ts";

export interface History {
  /** A new one, which is shown. */
  add(video: KeptVideo): void;
  /** Which one is on the screen; null for none of them. */
  mark(id: string | null): void;
  /** Takes one away. */
  remove(id: string): Promise<void>;
}

/** @param onRecall one was clicked, and read */
export function historyStrip(client: Client, tell: Tell, onRecall: (made: Made) => void): History {
  const [box, list] = [byId("kept"), byId("strip")];
  let videos: KeptVideo[] = [];
  let marked: string | null = null;
  const addresses = new Map<string, string>();

  function tile(video: KeptVideo): HTMLLIElement {
    const { prompt, seed } = video.settings;
    const item = document.createElement("li");
    const button = Object.assign(document.createElement("button"), { type: "button", title: prompt });
    button.dataset["id"] = video.id;
    let address = addresses.get(video.id);
    if (!address) addresses.set(video.id, (address = URL.createObjectURL(video.thumbnail)));
    const image = Object.assign(document.createElement("img"), { src: address, alt: "", loading: "lazy", draggable: false });
    const words = Object.assign(document.createElement("span"), { className: "prompt", textContent: visible(prompt) });
    const number = Object.assign(document.createElement("span"), { className: "hint", textContent: `seed ${seed}` });
    button.append(image, words, number);
    button.addEventListener("click", () => {
      client.ask<Made>({ type: "recall", video: video.id }).then(onRecall, (error: Error) => {
        tell(error.message);
        void load();
      });
    });
    item.append(button);
    return item;
  }

  function show(): void {
    for (const [id, address] of addresses)
      if (!videos.some((video) => video.id === id)) {
        URL.revokeObjectURL(address);
        addresses.delete(id);
      }
    list.replaceChildren(...videos.map(tile));
    box.hidden = videos.length === 0;
    mark(marked);
  }
  function mark(id: string | null): void {
    marked = id;
    for (const button of list.querySelectorAll("button")) button.setAttribute("aria-current", String(button.dataset["id"] === id));
  }
  async function load(): Promise<void> {
    videos = await client.ask<KeptVideo[]>({ type: "list-videos" }).catch(() => []);
    show();
  }
  async function forget(ids?: readonly string[]): Promise<void> {
    await client.ask({ type: "forget-videos", ...(ids ? { ids } : {}) }).catch((error: Error) => tell(error.message));
    await load();
  }

  twice(byId<HTMLButtonElement>("kept-clear"), "Remove all for good", () => forget());
  void load();
  return {
    add(video) {
      videos = [video, ...videos];
      marked = video.id;
      show();
      list.scrollTo({ left: 0 });
    },
    mark,
    remove: (id) => forget([id]),
  };
}
