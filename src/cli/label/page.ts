/** What moves in the page to label by: runs in a browser, and asks its own server alone. */
import type { ClipView, LabelResult, LabelState } from "./protocol.ts";

const element = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;
const held = [...document.querySelectorAll<HTMLButtonElement>("button[data-label]")];

let clips: LabelState["clips"] = [];
let at = 0;
const judged = new Map<string, { readonly good: boolean; readonly labels: readonly string[] }>();

async function asked<T>(path: string, body?: object): Promise<T> {
  const response = await fetch(
    path,
    body === undefined ? {} : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) },
  );
  const told = (await response.json()) as T & { error?: string };
  if (!response.ok) throw new Error(told.error ?? `the server answers ${response.status}`);
  return told;
}

/** One thing at a time: a key that comes while the last one is being kept waits for it. */
let last: Promise<void> = Promise.resolve();
function then(work: () => Promise<void> | void): void {
  last = last.then(work).then(
    () => trouble(),
    (error: unknown) => trouble(`That was not kept: ${(error as Error).message}. Is the command still running?`),
  );
}

function trouble(text?: string): void {
  element("trouble").hidden = text === undefined;
  element("trouble").textContent = text ?? "";
}

const labelsNow = (): string[] => held.filter((one) => one.ariaPressed === "true").map((one) => one.dataset["label"]!);

/** Pictures of a clip, which may still be read. */
const viewed = new Map<string, Promise<ClipView>>();
function view(id: string): Promise<ClipView> {
  const found = viewed.get(id) ?? asked<ClipView>(`clips/${id}`);
  viewed.set(id, found);
  found.catch(() => viewed.delete(id));
  return found;
}

async function show(): Promise<void> {
  const sampled = clips.filter(({ id }) => judged.has(id)).length;
  element("progress").textContent =
    sampled === clips.length ? `All ${clips.length} clips of the sample are judged.` : `${at + 1} of ${clips.length}; ${sampled} judged`;
  const clip = clips[at];
  if (!clip) return;
  const said = judged.get(clip.id);
  const verdict = said ? `, which you would ${said.good ? "" : "not "}train on` : "";
  element("name").textContent = `${clip.name}, ${clip.start.toFixed(1)} to ${clip.end.toFixed(1)} s${verdict}`;
  for (const one of held) one.ariaPressed = String(said?.labels.includes(one.dataset["label"]!) ?? false);
  const place = element("pictures");
  place.replaceChildren();
  const { pictures } = await view(clip.id);
  if (clips[at] !== clip) return;
  place.replaceChildren(
    ...Array.from({ length: pictures }, (_, i) => {
      const image = new Image();
      image.alt = pictures === 1 ? "the clip" : `the clip at ${(clip.start + (i * (clip.end - clip.start)) / pictures).toFixed(1)} s`;
      image.src = `clips/${clip.id}/${i}.jpg`;
      return image;
    }),
  );
  // The next one's pictures are read meanwhile.
  const next = clips[at + 1];
  if (next) void view(next.id).catch(() => {});
}

async function judge(good: boolean): Promise<void> {
  const clip = clips[at];
  if (!clip) return;
  const labels = labelsNow();
  await asked("judged", { clip: clip.id, good, labels });
  judged.set(clip.id, { good, labels });
  const from = at;
  do at = (at + 1) % clips.length;
  while (at !== from && judged.has(clips[at]!.id));
  if (judged.has(clips[at]!.id)) at = Math.min(from + 1, clips.length - 1);
  await Promise.all([show(), result()]);
}

async function undo(): Promise<void> {
  const { clip } = await asked<{ clip: string | null }>("undo", {});
  if (clip === null) return;
  const before = judged.get(clip);
  judged.delete(clip);
  const place = clips.findIndex(({ id }) => id === clip);
  if (place >= 0) at = place;
  await Promise.all([show(), result()]);
  // What was said of it stands there to be corrected.
  if (place >= 0) for (const one of held) one.ariaPressed = String(before?.labels.includes(one.dataset["label"]!) ?? false);
}

async function move(by: number): Promise<void> {
  at = Math.min(clips.length - 1, Math.max(0, at + by));
  await show();
}

const share = (value: number): string => value.toFixed(2);

async function result(): Promise<void> {
  const { columns } = await asked<LabelResult>(`result?by=${element<HTMLSelectElement>("by").value}`);
  element("columns").replaceChildren(
    ...columns.map(({ column, tells, yes, no, best }) => {
      const row = document.createElement("tr");
      const { counts, sign, threshold, accuracy, f1, youden, filter } = best ?? {};
      const cells = [
        ...[tells, String(yes), String(no), best ? `${sign} ${threshold}` : "–"],
        ...(counts ? [counts.tp, counts.fp, counts.tn, counts.fn].map(String) : ["", "", "", ""]),
        ...[accuracy, f1, youden].map((value) => (value === undefined ? "" : share(value))),
      ];
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = column;
      const code = document.createElement("code");
      code.textContent = filter ?? "";
      const lastCell = document.createElement("td");
      lastCell.append(code);
      row.append(
        head,
        ...cells.map((text) => {
          const cell = document.createElement("td");
          cell.textContent = text;
          return cell;
        }),
        lastCell,
      );
      return row;
    }),
  );
}

const ACTIONS: Readonly<Record<string, () => void>> = {
  y: () => then(() => judge(true)),
  n: () => then(() => judge(false)),
  u: () => then(undo),
  ArrowRight: () => then(() => move(1)),
  ArrowLeft: () => then(() => move(-1)),
  ...Object.fromEntries(
    held.map((one) => [one.ariaKeyShortcuts!, () => then(() => void (one.ariaPressed = String(one.ariaPressed !== "true")))]),
  ),
};
document.addEventListener("keydown", (event) => {
  const { key, target, ctrlKey, metaKey, altKey, repeat } = event;
  // Arrows belong to what has the focus where it uses them; a key that is held down says nothing twice.
  const own = (target as Element).closest("select, .wide");
  if (ctrlKey || metaKey || altKey || repeat || own) return;
  const action = ACTIONS[key.length === 1 ? key.toLowerCase() : key];
  if (!action) return;
  event.preventDefault();
  action();
});
for (const one of document.querySelectorAll<HTMLButtonElement>("button"))
  one.addEventListener("click", () => ACTIONS[one.ariaKeyShortcuts!]!());
element("by").addEventListener("change", () => then(result));

then(async () => {
  const state = await asked<LabelState>("state");
  clips = state.clips;
  for (const { clip, good, labels } of state.judged) judged.set(clip, { good, labels });
  const first = clips.findIndex(({ id }) => !judged.has(id));
  at = Math.max(0, first);
  await Promise.all([show(), result()]);
});
