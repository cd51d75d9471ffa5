/** What moves in the page for people: a request, and the gallery of this key's jobs, by the same calls as every client's. */
import type { VideoAnswer } from "../fields.ts";

const byId = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;
const KEY = "cogwheel-key";
/** Between two looks at the list. */
const LOOK_MS = 1500;
const PAGE = 24;

/** Is kept as long as the tab is. */
let key = sessionStorage.getItem(KEY) ?? "";
let wanted = PAGE;

class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const response = await fetch(`v1/${path}`, { ...init, headers: { ...init.headers, ...(key ? { authorization: `Bearer ${key}` } : {}) } });
  if (response.ok) return response;
  const told = (await response.json().catch(() => undefined)) as { error?: { message?: string } } | undefined;
  if (response.status === 401) {
    byId("key-form").hidden = false;
    byId("state").textContent = "A key is needed.";
  }
  throw new Refused(response.status, told?.error?.message ?? `the server answered ${response.status}`);
}

/** A job's place in the gallery, for as long as it is listed. */
class Card {
  readonly element = document.createElement("li");
  readonly #picture = document.createElement("div");
  readonly #prompt = document.createElement("p");
  readonly #bar = document.createElement("progress");
  readonly #state = document.createElement("p");
  readonly #actions = document.createElement("p");
  #status = "";
  #watching: AbortController | undefined;
  #address = "";

  constructor(readonly id: string) {
    this.#prompt.className = "prompt";
    this.#actions.className = "actions";
    this.#bar.max = 100;
    this.element.append(this.#picture, this.#prompt, this.#bar, this.#state, this.#actions);
  }

  show(video: VideoAnswer): void {
    this.#prompt.textContent = this.#prompt.title = video.prompt;
    this.#bar.value = video.progress;
    this.#bar.hidden = video.status === "completed" || video.status === "failed";
    this.#bar.setAttribute("aria-label", `Progress of ${video.prompt.slice(0, 60)}`);
    this.#state.textContent = stateOf(video);
    if (video.status === this.#status) return;
    this.#status = video.status;
    this.#act(video);
    if (video.status === "in_progress") void this.#watch();
    if (video.status === "completed") void this.#play();
  }

  #act(video: VideoAnswer): void {
    const over = video.status === "completed" || video.status === "failed";
    const button = (text: string, act: () => Promise<unknown>): HTMLButtonElement => {
      const made = document.createElement("button");
      made.type = "button";
      made.textContent = text;
      made.onclick = () => void act().then(look, complain);
      return made;
    };
    const actions: HTMLElement[] = over
      ? [button("Delete", () => ask(`videos/${this.id}`, { method: "DELETE" }))]
      : [button("Cancel", () => ask(`videos/${this.id}/cancel`, { method: "POST" }))];
    if (video.status === "completed")
      actions.unshift(
        button("Again", async () => {
          byId<HTMLTextAreaElement>("prompt").value = video.prompt;
          byId("prompt").focus();
        }),
      );
    this.#actions.replaceChildren(...actions);
  }

  /** Previews, as they come. */
  async #watch(): Promise<void> {
    this.#watching?.abort();
    const { signal } = (this.#watching = new AbortController());
    try {
      const response = await ask(`videos/${this.id}/events`, { signal });
      const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        text += value;
        const parts = text.split("\n\n");
        text = parts.pop()!;
        for (const part of parts) this.#hear(part);
      }
    } catch {
      // The list tells how it went on.
    }
  }

  #hear(part: string): void {
    const [, name] = /^event: (.*)$/m.exec(part) ?? [];
    const [, data] = /^data: (.*)$/m.exec(part) ?? [];
    if (name === "progress" && data) this.show(JSON.parse(data) as VideoAnswer);
    if (name !== "preview" || !data) return;
    const { type, data: bytes } = JSON.parse(data) as { type: string; data: string };
    const image = document.createElement("img");
    image.alt = "what it looks like so far";
    image.src = `data:${type};base64,${bytes}`;
    this.#picture.replaceChildren(image);
  }

  async #play(): Promise<void> {
    this.#watching?.abort();
    try {
      const blob = await (await ask(`videos/${this.id}/content`)).blob();
      const video = document.createElement("video");
      video.src = this.#address = URL.createObjectURL(blob);
      Object.assign(video, { loop: true, muted: true, autoplay: true, controls: true, playsInline: true });
      this.#picture.replaceChildren(video);
      const save = document.createElement("a");
      Object.assign(save, { href: this.#address, download: `${this.id}.mp4`, textContent: "Save" });
      this.#actions.append(save);
    } catch (error) {
      this.#state.textContent = (error as Error).message;
    }
  }

  remove(): void {
    this.#watching?.abort();
    if (this.#address) URL.revokeObjectURL(this.#address);
    this.element.remove();
  }
}

function stateOf(video: VideoAnswer): string {
  const { status, step, steps, seconds_left: left, queue_position: before, waits_for: what, error, size, seconds, seed } = video;
  if (status === "queued") return `waits for ${what ?? "a worker"}${before ? `, ${before} before it` : ""}`;
  if (status === "in_progress") return steps ? `step ${step} of ${steps}${left === null ? "" : `, ${left} s left`}` : "begins";
  if (status === "failed") return error?.code === "cancelled" ? "cancelled" : `failed: ${error?.message ?? "for no reason that is known"}`;
  return `${size}, ${seconds} s, seed ${seed}`;
}

const cards = new Map<string, Card>();
const complain = (error: unknown): void => void (byId("trouble").textContent = (error as Error).message);

async function look(): Promise<void> {
  const videos: VideoAnswer[] = [];
  let more = true;
  while (more && videos.length < wanted) {
    const after = videos.at(-1)?.id;
    const page = await ask(`videos?limit=${PAGE}${after ? `&after=${after}` : ""}`);
    const { data, has_more } = (await page.json()) as { data: VideoAnswer[]; has_more: boolean };
    videos.push(...data);
    more = has_more && data.length > 0;
  }
  byId("key-form").hidden = true;
  byId("more").hidden = !more;
  const list = byId("jobs");
  const there = new Set(videos.map(({ id }) => id));
  for (const [id, card] of cards)
    if (!there.has(id)) {
      card.remove();
      cards.delete(id);
    }
  for (const [at, video] of videos.entries()) {
    const card = cards.get(video.id) ?? new Card(video.id);
    cards.set(video.id, card);
    if (list.children[at] !== card.element) list.insertBefore(card.element, list.children[at] ?? null);
    card.show(video);
  }
  const open = videos.filter(({ status }) => status === "queued" || status === "in_progress").length;
  byId("state").textContent = open ? `${open} to be made` : "Nothing to be made.";
}

async function make(): Promise<void> {
  const form = new FormData();
  form.set("prompt", byId<HTMLTextAreaElement>("prompt").value);
  for (const name of ["size", "num_frames", "num_inference_steps", "guidance_scale", "seed", "negative_prompt"]) {
    const { value } = byId<HTMLInputElement>(name);
    if (value.trim() !== "") form.set(name, value.trim());
  }
  const file = byId<HTMLInputElement>("input_reference").files?.[0];
  if (file) form.set("input_reference", file);
  byId("trouble").textContent = "";
  const submit = byId<HTMLButtonElement>("submit");
  submit.disabled = true;
  try {
    // Sent twice by a line that broke, it is one job.
    await ask("videos", { method: "POST", body: form, headers: { "idempotency-key": crypto.randomUUID() } });
    await look();
  } catch (error) {
    complain(error);
  } finally {
    submit.disabled = false;
  }
}

byId<HTMLFormElement>("make").onsubmit = (event) => {
  event.preventDefault();
  void make();
};
byId<HTMLFormElement>("key-form").onsubmit = (event) => {
  event.preventDefault();
  key = byId<HTMLInputElement>("key").value.trim();
  sessionStorage.setItem(KEY, key);
  void look().catch(complain);
};
byId("more").onclick = () => {
  wanted += PAGE;
  void look().catch(complain);
};

async function keepLooking(): Promise<void> {
  for (;;) {
    await look().catch((error: unknown) => {
      if (!(error instanceof Refused)) byId("state").textContent = "The server does not answer.";
    });
    await new Promise((resolve) => setTimeout(resolve, document.hidden ? 4 * LOOK_MS : LOOK_MS));
  }
}
void keepLooking();
