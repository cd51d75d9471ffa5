/** Which model: the embedded one, one from a URL or the hub, one that this browser keeps, or a folder. */
import type { StoredCheckpoint } from "../src/index.ts";
import type { Client } from "./client.ts";
import { byId } from "./dom.ts";
import { partFiles } from "./parts.ts";
import { fillFile } from "./drops.ts";
import type { FormValues, ModelChoice, ModelPlace, PartFiles } from "./protocol.ts";
import { bytesText } from "../src/base/units.ts";
import { visible } from "../src/base/visible.ts";
import type { Tell } from "./trouble.ts";

export interface ModelPicker {
  choice(): ModelChoice;
  /** What is chosen without saying which, and the field that would say it. */
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
}

export function modelPicker(client: Client, tell: Tell, onChange: () => void): ModelPicker {
  const form = byId<HTMLFormElement>("form");
  let folder: Extract<ModelPlace, { kind: "folder" }> | undefined;
  const url = byId<HTMLInputElement>("url");
  const kind = (): string => (form.elements.namedItem("model") as RadioNodeList).value;
  const select = (value: string): void => {
    (form.elements.namedItem("model") as RadioNodeList).value = value;
    show();
  };

  function show(): void {
    for (const inset of form.querySelectorAll<HTMLElement>("[data-for]")) inset.hidden = inset.dataset["for"] !== kind();
    const chosen = place();
    byId("model-name").textContent =
      chosen.kind === "embedded" ? "Moving shapes" : visible(chosen.kind === "url" ? chosen.url : chosen.name);
  }

  const files = partFiles(onChange);
  const choice = (): ModelChoice => ({ ...place(), parts: files() });

  /** A field of the box, which is opened so that it can be seen. */
  function shown(input: HTMLElement): HTMLElement {
    byId<HTMLDetailsElement>("model-box").open = true;
    return input;
  }

  function place(): ModelPlace {
    const value = kind();
    if (value === "url")
      return { kind: "url", url: url.value.trim(), store: (form.elements.namedItem("store") as HTMLInputElement).checked };
    if (value === "folder" && folder) return folder;
    if (value.startsWith("stored:")) return { kind: "stored", name: value.slice(7) };
    return { kind: "embedded" };
  }

  function take(picked: Extract<ModelPlace, { kind: "folder" }>): void {
    folder = picked;
    byId("folder-name").textContent = visible(picked.name);
    select("folder");
    onChange();
  }

  form.addEventListener("change", (event) => {
    const { name, value } = event.target as HTMLInputElement;
    if (name === "model") {
      show();
      if (value === "embedded" || value.startsWith("stored:")) onChange();
    }
    if (name === "url" && url.value.trim()) {
      show();
      onChange();
      void listStored();
    }
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
  /** A model that is to be chosen when the list of kept ones is there. */
  let wanted: string | undefined;
  function restore(values: FormValues, name: string | null = null): boolean {
    const { model = "embedded", url: address = "" } = values;
    const before = JSON.stringify([kind(), url.value]);
    if (model === "folder" && name !== null && folder?.name !== name) return false;
    if (model === "url") url.value = address;
    const radio = [...form.querySelectorAll<HTMLInputElement>('input[name="model"]')].find(({ value }) => value === model);
    if (!radio || radio.disabled) {
      wanted = model;
      return false;
    }
    select(model);
    if (JSON.stringify([kind(), url.value]) !== before && model !== "url") onChange();
    return true;
  }

  /** Models that are kept in this browser. */
  async function listStored(): Promise<void> {
    const list = await client.ask<StoredCheckpoint[]>({ type: "list-stored" }).catch(() => [] as StoredCheckpoint[]);
    byId("stored").replaceChildren(
      ...list.map(({ name, bytes, whole }) => {
        const row = document.createElement("div");
        row.className = "row";
        const label = document.createElement("label");
        label.className = "choice";
        const radio = Object.assign(document.createElement("input"), { type: "radio", name: "model", value: `stored:${name}` });
        radio.disabled = !whole;
        label.append(radio, ` ${name} (${whole ? "kept here" : "not all of it is here; open its URL to go on"}, ${bytesText(bytes)})`);
        const remove = Object.assign(document.createElement("button"), { type: "button", textContent: "Remove" });
        remove.setAttribute("aria-label", `Remove ${name} from this browser`);
        remove.addEventListener("click", async () => {
          await client.ask({ type: "remove-stored", name }).catch((error: Error) => tell(error.message));
          if (radio.checked) {
            select("embedded");
            onChange();
          }
          await listStored();
        });
        row.append(label, remove);
        return row;
      }),
    );
    if (wanted === undefined || kind() !== "embedded") return;
    const model = wanted;
    wanted = undefined;
    restore({ model });
  }

  show();
  void listStored();
  return {
    choice,
    restore,
    async takeFolder(data) {
      const picked = await folderOf(data);
      if (picked) {
        byId<HTMLDetailsElement>("model-box").open = true;
        take(picked);
      }
      return picked !== null;
    },
    takePart(part, file) {
      byId<HTMLDetailsElement>("model-box").open = true;
      fillFile(byId("parts").querySelector<HTMLInputElement>(`[data-part="${part}"]`)!, file);
    },
    problem() {
      const at = kind();
      if (at === "url" && !url.value.trim())
        return { message: "Give the model’s address: a URL of a folder, or an id such as zai-org/CogVideoX-2b.", field: shown(url) };
      if (at === "folder" && !folder)
        return { message: "Choose the model’s folder: the one that holds model_index.json.", field: shown(byId("folder")) };
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
