/** Which model: the embedded one, a published one, one from a URL or the hub, one that this browser keeps, or a folder. */
import type { StoredCheckpoint } from "../src/index.ts";
import type { Client } from "./client.ts";
import { consent } from "./consent.ts";
import { byId } from "./dom.ts";
import { partFiles } from "./parts.ts";
import { fillFile } from "./drops.ts";
import type { FormValues, ModelChoice, ModelPlace, OfferedModel, PartFiles, Precision } from "./protocol.ts";
import { bytesText } from "../src/base/units.ts";
import { visible } from "../src/base/visible.ts";
import type { Tell } from "./trouble.ts";

export interface ModelPicker {
  choice(): ModelChoice;
  /** Asks what has to be asked before the chosen one is fetched. @returns whether it may be opened now */
  settle(): Promise<boolean>;
  /** What was agreed to was stopped: it is asked for once more. */
  askAgain(): void;
  /** What is chosen without saying which, or not agreed to yet, and the field that would say it. */
  problem(): { message: string; field: HTMLElement } | null;
  /** Fills in what a link names; it is opened when the user says so. */
  link(values: FormValues): void;
  /** Takes a folder that was dropped; false where it is none. To be called before anything is waited for. */
  takeFolder(data: DataTransfer): Promise<boolean>;
  /** Puts weights in the place of the model's own. */
  takePart(part: keyof PartFiles, file: File): void;
  /**
   * Chooses what the form said earlier. @param folder the name of the folder that was meant then; a page may not open one by itself
   * @returns whether it is there
   */
  restore(values: FormValues, folder?: string | null): boolean;
  /** Lists anew what this browser keeps. */
  refresh(): Promise<void>;
}

export function modelPicker(client: Client, tell: Tell, onChange: () => void): ModelPicker {
  const form = byId<HTMLFormElement>("form");
  let folder: Extract<ModelPlace, { kind: "folder" }> | undefined;
  /** The address of a model that may be fetched. */
  let settled = "";
  /** Models that are whole in this browser. */
  let kept: ReadonlySet<string> = new Set();
  const published = new Map<string, OfferedModel>();
  const url = byId<HTMLInputElement>("url");
  const kind = (): string => (form.elements.namedItem("model") as RadioNodeList).value;
  const radios = (): HTMLInputElement[] => [...form.querySelectorAll<HTMLInputElement>('input[name="model"]')];
  const asked = consent(client, () => {
    settle().then(onChange, onChange);
  });

  function select(value: string): void {
    (form.elements.namedItem("model") as RadioNodeList).value = value;
    show();
  }
  /** The fields of what is chosen, and how its weights would come, below it. */
  function show(): void {
    for (const inset of form.querySelectorAll<HTMLElement>("[data-for]")) inset.hidden = inset.dataset["for"] !== kind();
    const chosen = place();
    const fetched = chosen.kind === "url";
    byId("fetch").hidden = !fetched;
    if (fetched)
      (form.querySelector(`[data-for="${kind()}"]`) ??
        radios()
          .find(({ checked }) => checked)!
          .closest(".card"))!.after(byId("fetch"));
    else asked.hide();
    const name = chosen.kind === "embedded" ? "Moving shapes" : chosen.kind === "url" ? chosen.url : chosen.name;
    byId("model-name").textContent = visible(published.get(name)?.title ?? name);
  }

  const files = partFiles(onChange);
  const choice = (): ModelChoice => {
    const dtype = byId<HTMLSelectElement>("dtype").value as Precision | "";
    return { ...place(), parts: files(), ...(dtype ? { dtype } : {}) };
  };

  /** A field of the box, which is opened so that it can be seen. */
  function shown(input: HTMLElement): HTMLElement {
    byId<HTMLDetailsElement>("model-box").open = true;
    return input;
  }

  function place(): ModelPlace {
    const value = kind();
    const store = byId<HTMLInputElement>("store").checked;
    if (value === "url") return { kind: "url", url: url.value.trim(), store };
    if (value === "folder" && folder) return folder;
    if (value.startsWith("stored:")) return { kind: "stored", name: value.slice(7) };
    if (value.startsWith("hub:")) {
      const id = value.slice(4);
      return kept.has(id) ? { kind: "stored", name: id } : { kind: "url", url: id, store };
    }
    return { kind: "embedded" };
  }

  async function settle(): Promise<boolean> {
    const chosen = place();
    if (chosen.kind !== "url" || chosen.url === settled) return true;
    if (!(await asked.ask(chosen.url, kind() === "url" ? undefined : published.get(chosen.url)?.bytes))) return false;
    settled = chosen.url;
    return true;
  }
  const settleAndOpen = (): void => void settle().then((yes) => yes && onChange());

  function take(picked: Extract<ModelPlace, { kind: "folder" }>): void {
    folder = picked;
    byId("folder-name").textContent = visible(picked.name);
    select("folder");
    onChange();
  }

  form.addEventListener("change", (event) => {
    const { name } = event.target as HTMLInputElement;
    if (name === "model") show();
    const said = kind() === "url" ? url.value.trim() !== "" : kind() !== "folder" || folder !== undefined;
    if (said && ["model", "url", "dtype"].includes(name)) settleAndOpen();
  });
  byId<HTMLInputElement>("folder").addEventListener("change", (event) => {
    const files = [...((event.target as HTMLInputElement).files ?? [])];
    if (files.length === 0) return;
    const name = files[0]!.webkitRelativePath.split("/")[0] || "the folder";
    take({
      kind: "folder",
      name,
      files: new Map(files.map((file) => [file.webkitRelativePath.split("/").slice(1).join("/") || file.name, file])),
    });
  });
  /** A model that is to be chosen when the list that it is in is there. */
  let wanted: string | undefined;
  function restore(values: FormValues, name: string | null = null): boolean {
    const { model = "embedded", url: address = "" } = values;
    const before = JSON.stringify([kind(), url.value]);
    if (model === "folder" && name !== null && folder?.name !== name) return false;
    if (model === "url") url.value = address;
    const radio = radios().find(({ value }) => value === model);
    if (!radio || radio.disabled) {
      wanted = model;
      return false;
    }
    select(model);
    if (JSON.stringify([kind(), url.value]) !== before && place().kind !== "url") onChange();
    return true;
  }
  function restoreWanted(): void {
    if (wanted === undefined || kind() !== "embedded") return;
    const model = wanted;
    wanted = undefined;
    restore({ model });
  }

  /** The published models. */
  async function listPublished(): Promise<void> {
    const list = await client.ask<OfferedModel[]>({ type: "list-models" }).catch(() => [] as OfferedModel[]);
    byId("published").replaceChildren(
      ...list.map((model) => {
        const { id, title, makes, licence, bytes } = model;
        published.set(id, model);
        return card(`hub:${id}`, title, bytesText(bytes, 1), `${makes[0]!.toUpperCase()}${makes.slice(1)}. From the hub · ${licence}`);
      }),
    );
    restoreWanted();
  }
  /** Models that are kept in this browser. */
  async function refresh(): Promise<void> {
    const list = await client.ask<StoredCheckpoint[]>({ type: "list-stored" }).catch(() => [] as StoredCheckpoint[]);
    const chosen = kind();
    kept = new Set(list.flatMap(({ name, whole }) => (whole ? [name] : [])));
    byId("stored").replaceChildren(
      ...list.map(({ name, bytes, whole }) => {
        const row = document.createElement("div");
        row.className = "row";
        const words = whole ? "Kept in this browser" : "Not all of it is in this browser; open it where it is from to go on";
        const label = card(`stored:${name}`, name, bytesText(bytes), words);
        label.querySelector("input")!.disabled = !whole;
        const remove = Object.assign(document.createElement("button"), { type: "button", textContent: "Remove" });
        remove.setAttribute("aria-label", `Remove ${name} from this browser`);
        remove.addEventListener("click", async () => {
          await client.ask({ type: "remove-stored", name }).catch((error: Error) => tell(error.message));
          if (kind() === `stored:${name}`) {
            select("embedded");
            onChange();
          }
          await refresh();
        });
        row.append(label, remove);
        return row;
      }),
    );
    if (chosen.startsWith("stored:") && radios().some(({ value }) => value === chosen)) select(chosen);
    else show();
    restoreWanted();
  }

  show();
  void listPublished();
  void refresh();
  return {
    choice,
    settle,
    restore,
    refresh,
    askAgain() {
      asked.forget(settled);
      settled = "";
      void settle();
    },
    async takeFolder(data) {
      const picked = await folderOf(data);
      if (picked) {
        byId<HTMLDetailsElement>("model-box").open = true;
        take(picked);
      }
      return picked !== null;
    },
    takePart(part, file) {
      byId<HTMLDetailsElement>("advanced").open = true;
      fillFile(byId("parts").querySelector<HTMLInputElement>(`[data-part="${part}"]`)!, file);
    },
    problem() {
      const chosen = place();
      if (chosen.kind === "url" && !chosen.url)
        return { message: "Give the model’s address: a URL of a folder, or an id such as zai-org/CogVideoX-2b.", field: shown(url) };
      if (kind() === "folder" && !folder)
        return { message: "Choose the model’s folder: the one that holds model_index.json.", field: shown(byId("folder")) };
      if (chosen.kind === "url" && chosen.url !== settled)
        return { message: "Say first whether the model is to be fetched.", field: shown(asked.waits(chosen.url) ?? url) };
      return null;
    },
    link({ model, url: address }) {
      if (model !== "url" || !address) return;
      url.value = address;
      byId<HTMLDetailsElement>("model-box").open = true;
      select("url");
    },
  };
}

/** A model that can be chosen. */
function card(value: string, title: string, size: string, words: string): HTMLLabelElement {
  const label = Object.assign(document.createElement("label"), { className: "card" });
  const radio = Object.assign(document.createElement("input"), { type: "radio", name: "model", value });
  const part = (name: string, text: string): HTMLElement =>
    Object.assign(document.createElement("span"), {
      id: `${value} ${name}`.replace(/\s+/g, "-"),
      className: name,
      textContent: visible(text),
    });
  const parts = [part("title", title), part("size", size), part("words", words)];
  radio.setAttribute("aria-labelledby", parts[0]!.id);
  radio.setAttribute("aria-describedby", `${parts[1]!.id} ${parts[2]!.id}`);
  label.append(radio, ...parts);
  return label;
}

/** A dropped folder, with its files by path; null where a file was dropped. */
async function folderOf(data: DataTransfer): Promise<Extract<ModelPlace, { kind: "folder" }> | null> {
  const entry = data.items[0]?.webkitGetAsEntry();
  if (!entry?.isDirectory) return null;
  const files = new Map<string, File>();
  const walk = async (folder: FileSystemDirectoryEntry, prefix: string): Promise<void> => {
    const reader = folder.createReader();
    // A reader gives its entries in parts, and none at the end.
    for (;;) {
      const entries = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
      if (entries.length === 0) break;
      for (const one of entries) {
        if (one.isDirectory) await walk(one as FileSystemDirectoryEntry, `${prefix}${one.name}/`);
        else files.set(prefix + one.name, await new Promise<File>((resolve, reject) => (one as FileSystemFileEntry).file(resolve, reject)));
      }
    }
  };
  await walk(entry as FileSystemDirectoryEntry, "");
  return { kind: "folder", name: entry.name, files };
}
