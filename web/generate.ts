/** The panel that makes videos: the form, the run, the result. */
import { WorkerError, type Client } from "./client.ts";
import { addControls, LINKED, optionValues, setControl, showDefaults } from "./controls.ts";
import { inControl } from "./control.ts";
import { attention } from "./attention.ts";
import { beginBox } from "./begin.ts";
import { byId } from "./dom.ts";
import { enhanceBox } from "./enhance.ts";
import { formBefore, keepForm } from "./kept-form.ts";
import { keys } from "./keys.ts";
import { lengths } from "./lengths.ts";
import { fromFragment, toFragment } from "./link.ts";
import { modelPicker, type ModelPicker } from "./model.ts";
import { planBox } from "./plan.ts";
import { keptPrompts } from "./prompts.ts";
import { queue } from "./queue.ts";
import { stage } from "./stage.ts";
import { adapterPicker } from "./adapter.ts";
import type { FormValues, GenerateRequest, Made, Identified, ModelFacts, News } from "./protocol.ts";
import { SETTINGS } from "../src/pipelines/options/table.ts";
import { bytesText } from "../src/base/units.ts";
import { duration } from "./text.ts";
import { fieldOf, type Tell } from "./trouble.ts";
import type { OverallProgress } from "../src/index.ts";
import { shortenedLines, visible } from "../src/base/visible.ts";

const EXAMPLES = [
  "a red circle moving left on a black background",
  "a cyan square growing on a gray background",
  "a yellow triangle moving up on a white background",
];

const PARTS = { transformer: "transformer", textEncoder: "text encoder", vae: "VAE" };
/** Files that are taken of one drop. */
const MOST_DROPPED = 8;

/** @returns the model that is chosen, and a way to put an adapter to use, for the panel that trains one */
export function generatePanel(
  client: Client,
  tell: Tell,
): { model: ModelPicker; useAdapter(file: File): void; dropped(data: DataTransfer): void } {
  const form = byId<HTMLFormElement>("form");
  addControls();
  const [start, cancel, resume] = [byId<HTMLButtonElement>("start"), byId<HTMLButtonElement>("cancel"), byId<HTMLButtonElement>("resume")];
  const [doing, figures, bar, outcome, log] = [
    byId("doing"),
    byId("figures"),
    byId<HTMLProgressElement>("bar"),
    byId("outcome"),
    byId("log"),
  ];
  const field = (name: string): HTMLInputElement => form.elements.namedItem(name) as HTMLInputElement;
  /** How many videos are made of one request, each with its own seed. */
  const samples = (): number => Number(field("samples").value) || 1;
  const model = modelPicker(client, tell, () => void opened());
  const showPrompts = keptPrompts(client, tell);
  const adapter = adapterPicker();
  const begin = beginBox(form);
  const waited = attention();
  const show = stage(client, tell, recalled);
  const jobs = queue(run);
  const length = lengths(form);
  let running = false;
  const plan = planBox(client, length, {
    asked: () =>
      running || model.problem()
        ? undefined
        : { model: model.choice(), options: { ...optionValues(form), prompt: adapter.picked() ? "" : field("prompt").value } },
    news,
    over() {
      if (!running) byId("run").hidden = true;
    },
    samples,
  });
  /** What made the videos of this page, by their names. */
  const requests = new Map<string, GenerateRequest>();
  /** What was asked for together, and what has come of it. */
  const groups = new WeakMap<GenerateRequest, { made: Made[] }>();

  const values = (): FormValues =>
    Object.fromEntries([...new FormData(form)].filter((entry): entry is [string, string] => typeof entry[1] === "string"));
  for (const text of EXAMPLES) {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.textContent = text;
    chip.addEventListener("click", () => {
      field("prompt").value = text;
      field("prompt").focus();
      changed();
    });
    byId("examples").append(chip);
  }

  /** What a link asks for; else what was there before; else the first example. */
  const before = formBefore(location.hash);
  const linked = before?.values ?? fromFragment(location.hash);
  for (const [name, value] of Object.entries(linked)) if (isPlain(name)) setControl(form, name, value);
  if (before) model.restore(linked);
  else model.link(linked);
  if (!field("prompt").value) field("prompt").value = EXAMPLES[0]!;
  const touched = new Set(before?.touched ?? Object.keys(linked));
  form.addEventListener("input", (event) => {
    touched.add((event.target as HTMLInputElement).name);
    changed();
  });
  form.addEventListener("change", keep);
  function changed(): void {
    keep();
    summarise();
    if (model.problem()) plan.clear();
    else plan.renew();
  }
  function keep(): void {
    keepForm({ values: values(), touched: [...touched].filter(Boolean), hash: location.hash });
  }
  /** A field that holds its own text: not a file, and not where the model is. */
  function isPlain(name: string): boolean {
    const input = form.elements.namedItem(name);
    return (
      input instanceof HTMLElement && !["file", "radio"].includes((input as HTMLInputElement).type) && name !== "url" && name !== "store"
    );
  }

  /** An earlier video is on the stage: the form says again what it said then. */
  function recalled({ kept }: Made): void {
    if (!kept) return;
    const names = [...form.elements].flatMap((input) => ("name" in input && isPlain(String(input.name)) ? [String(input.name)] : []));
    // How many to make is asked of the next ones, and says nothing of this one.
    for (const name of names.filter((name) => name !== "samples")) {
      setControl(form, name, kept.form[name] ?? "");
      touched.add(name);
    }
    const missing = kept.files.map(visible);
    if (!model.restore(kept.form, kept.folder))
      missing.unshift(`the model (${visible(kept.folder ?? kept.form["model"]!.replace(/^(stored|hub):/, ""))})`);
    outcome.textContent = missing.length ? `To make it again, choose too what this browser does not keep: ${missing.join(", ")}.` : "";
    changed();
  }
  byId("settings-own").addEventListener("click", () => {
    for (const name of Object.keys(SETTINGS)) touched.delete(name);
    tell(null);
    if (facts) showDefaults(form, facts.defaults, touched);
    changed();
  });

  /** A model's own advice goes into the fields that nobody touched. */
  let facts: ModelFacts | undefined;
  /** What is begun from decides too which lengths there can be. */
  function offerLengths(): void {
    if (facts) length.offer(begin.picked() ? facts.lengths.withFile : facts.lengths.alone, facts.defaults.frames);
  }
  byId("begin-box").addEventListener("change", offerLengths);
  /** What is told is that the model could not be opened. */
  let unopened = false;
  async function opened(): Promise<void> {
    if (model.problem()) return;
    // What is fetched can be stopped.
    if (model.choice().kind === "url") cancel.hidden = false;
    try {
      facts = await client.ask<ModelFacts>({ type: "open", model: model.choice() }, news);
      begin.opened(facts, touched.has("role"));
      showDefaults(form, facts.defaults, touched);
      offerLengths();
      byId("examples").hidden = model.choice().kind !== "embedded";
      if (unopened) tell(null);
      unopened = false;
      summarise();
      plan.renew();
    } catch (error) {
      if (error instanceof WorkerError && error.cancelled) {
        outcome.textContent = "Stopped. What was fetched is kept, to go on from.";
        model.askAgain();
        return;
      }
      unopened = true;
      tell((error as Error).message, field("model").value === "url" ? byId("url") : null);
    } finally {
      if (!running) byId("run").hidden = cancel.hidden = true;
      if (model.choice().kind === "url") void model.refresh();
    }
  }

  const counted = (count = "", what: string): string => `${count} ${what}${count === "1" ? "" : "s"}`;
  function summarise(): void {
    length.write();
    const v = values();
    const told = v["width"] && !model.problem();
    byId("settings-name").textContent = told
      ? `${v["width"]} × ${v["height"]}, ${counted(v["frames"], "frame")}, ${counted(v["steps"], "step")}`
      : "";
    const count = samples();
    start.textContent = running ? "Add to the queue" : count > 1 ? `Make ${count} videos` : "Make the video";
    byId("another").textContent = count > 1 ? `${count} other seeds` : "Another seed";
    byId("samples-hint").hidden = count === 1;
  }

  function busy(on: boolean): void {
    running = on;
    summarise();
    if (on) resume.hidden = true;
    cancel.hidden = !on;
    byId("run").hidden = !on;
    form.setAttribute("aria-busy", String(on));
  }

  function note(text: string): void {
    const item = document.createElement("li");
    item.textContent = shortenedLines(text);
    log.append(item);
  }

  let [share, left] = ["", ""];
  /** How far the whole of it is, beside the stage: of a run, not of what is fetched or measured. */
  function showWhole(whole?: OverallProgress): void {
    byId("whole").hidden = !whole;
    if (!whole) return;
    const { overall, secondsLeft } = whole;
    byId<HTMLProgressElement>("whole-bar").value = overall;
    byId("whole-told").textContent =
      `${Math.floor(100 * overall)} %` + (secondsLeft === undefined ? "" : ` · about ${duration(secondsLeft)} left`);
  }
  function news(n: News): void {
    if (n.type === "progress") {
      byId("run").hidden = false;
      showWhole(n.whole);
      doing.textContent = n.stage.charAt(0).toUpperCase() + n.stage.slice(1) + (n.detail ? `: ${visible(n.detail)}` : "");
      bar.value = n.done;
      share = n.memory ? `${bytesText(n.memory)} of GPU memory` : "";
      if (n.stage !== "denoise") left = "";
      if (running) waited.progress(n.whole?.overall ?? n.done, n.whole?.secondsLeft);
    } else if (n.type === "step") {
      step = n.step;
      left = n.step < n.steps ? `${duration(n.secondsLeft)} left, ${duration(n.seconds)} a step` : "";
      show.preview(n.preview, Math.max(1, (Number(field("fps").value) || 8) / 4), `Preview after step ${n.step} of ${n.steps}`);
    } else if (n.type === "warning") note(n.message);
    figures.textContent = [left, share].filter(Boolean).join(" · ");
  }

  /** What the form asks for; undefined where it cannot be asked for, which is told. */
  function asked(): GenerateRequest | undefined {
    const problem = field("prompt").value.trim() ? model.problem() : { message: "Say what the video shall show.", field: field("prompt") };
    if (problem) {
      tell(problem.message, problem.field);
      return undefined;
    }
    const input = begin.picked();
    const request: GenerateRequest = {
      model: model.choice(),
      options: { ...optionValues(form), prompt: field("prompt").value },
      input,
      adapter: adapter.picked(),
      resume: false,
      form: values(),
    };
    // A file's length decides where nobody asked for a number of frames.
    if (input && input.role !== "image" && !touched.has("frames")) delete request.options.frames;
    return request;
  }

  /** As many videos as the form says. @param seed of the first one, from which the others count on; without it each draws its own */
  function several(request: GenerateRequest, seed?: number): void {
    const group = { made: [] };
    const all = Array.from({ length: samples() }, (_, i) =>
      seed === undefined ? { ...request } : { ...request, options: { ...request.options, seed: seed + i } },
    );
    if (all.length > 1) for (const one of all) groups.set(one, group);
    jobs.add(...all);
  }

  /** What was stopped, and can be gone on with: the form may say something else by then. */
  let stopped: GenerateRequest | undefined;
  /** Somebody pressed Stop, of which the worker knows only where it was at work. */
  let stopAsked = false;
  /** The last step that is over. */
  let step = 0;
  async function run(request: GenerateRequest): Promise<boolean> {
    tell(null);
    log.replaceChildren();
    outcome.textContent = doing.textContent = figures.textContent = "";
    bar.value = step = 0;
    showWhole();
    plan.yield();
    busy(true);
    show.begin();
    waited.begin();
    const group = groups.get(request);
    let goOn = true;
    let words = "The video is done";
    try {
      stopAsked = false;
      if (request.model.kind === "embedded") await inControl();
      if (stopAsked) throw new WorkerError("stopped", request.resume, true);
      const made = await client.ask<Made>({ type: "generate", request }, news);
      if (made.kept) requests.set(made.kept.id, request);
      show.done(made);
      group?.made.push(made);
    } catch (error) {
      const { resumable, cancelled } = error instanceof WorkerError ? error : { resumable: false, cancelled: false };
      resume.hidden = !resumable;
      resume.textContent = step ? `Go on from step ${step}` : "Go on";
      stopped = resumable ? request : undefined;
      words = cancelled ? "Stopped" : "The video could not be made";
      show.ended(resumable);
      if (cancelled) outcome.textContent = resumable ? "Stopped. Its steps so far are kept." : "Stopped.";
      else tell((error as Error).message, fieldOf(form, (error as Error).message));
      goOn = !cancelled && !resumable;
    }
    waited.end(words);
    // What was asked for together is seen together, when the last of it is there.
    if (group && group.made.length > 1 && !jobs.waiting().some((other) => groups.get(other) === group)) show.together(group.made);
    busy(false);
    plan.renew(); // the form may say something else by now
    void showPrompts();
    return goOn;
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    await model.settle();
    const request = asked();
    if (request) several(request, request.options.seed);
  });
  resume.addEventListener("click", () => {
    if (!stopped) return;
    const request = { ...stopped, resume: true };
    const group = groups.get(stopped);
    if (group) groups.set(request, group);
    // The button goes away with the run that it begins.
    start.focus();
    jobs.next(request);
  });
  cancel.addEventListener("click", () => {
    doing.textContent = "Stopping …";
    stopAsked = true;
    client.cancel("generate", "open", "enhance");
  });
  /** The video on the stage, with other draws. */
  byId("another").addEventListener("click", () => {
    const request = requests.get(show.made()?.kept?.id ?? "") ?? asked();
    if (request) several({ ...request, resume: false }, crypto.getRandomValues(new Uint32Array(1))[0]);
  });
  addEventListener("beforeunload", (event) => {
    if (running || jobs.waiting().length) event.preventDefault();
  });
  byId("share").addEventListener("click", async () => {
    const { seed, prompt } = show.made()!.settings;
    location.hash = toFragment({ ...values(), seed: String(seed), prompt });
    keep();
    await navigator.clipboard.writeText(location.href).then(
      () => note("The link is copied."),
      () => note("The link is in the address bar."),
    );
  });

  /** Files that were dropped or pasted: each goes to where it is of use. */
  async function dropped(data: DataTransfer): Promise<void> {
    const files = [...data.files].slice(0, MOST_DROPPED);
    try {
      if (await model.takeFolder(data)) return;
      for (const file of files) await place(file);
    } catch (error) {
      tell((error as Error).message);
    }
  }
  async function place(file: File): Promise<void> {
    const found = await client.ask<Identified>({ type: "identify", file });
    tell(null);
    const name = visible(file.name);
    if (found.kind === "result") {
      for (const [option, value] of Object.entries(found.made)) {
        if (option === "prompt" || LINKED.includes(option)) setControl(form, option, String(value));
        touched.add(option);
      }
      const instead = "To begin from it, choose it under “Begin from a picture or a video”.";
      note(`The prompt and the settings of ${name} are in the form. ${instead}`);
    } else if (found.kind !== "weights") {
      begin.take(file, found.kind);
      note(`The video begins from ${name}.`);
    } else if (found.part === "adapter") {
      adapter.take(file);
      note(`${name} is used as the adapter.`);
    } else {
      model.takePart(found.part, file);
      note(`${name} stands in place of the model’s own ${PARTS[found.part]}.`);
    }
    changed();
  }

  const picture = (): File | null => {
    const picked = begin.picked();
    return picked?.role === "image" ? picked.file : null;
  };
  keys(form);
  enhanceBox(client, { model: model.choice, image: picture, news });
  summarise();
  void showPrompts();
  if (model.choice().kind === "embedded") void opened();
  return { model, useAdapter: adapter.use, dropped: (data) => void dropped(data) };
}
