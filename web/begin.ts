/** What a video begins from: a file, what it is used as, and a look at it. Only what the chosen model can use is offered. */
import { visible } from "../src/base/visible.ts";
import { OPTION_LIST } from "../src/pipelines/options/table.ts";
import { byId } from "./dom.ts";
import { fillFile } from "./drops.ts";
import type { ModelFacts, Role } from "./protocol.ts";

export interface Begin {
  picked(): { file: File; role: Role } | null;
  /** Takes a file that was dropped, in the way that the model can. */
  take(file: File, kind: "picture" | "film"): void;
  /** A model was opened. @param chosen the visitor has said what the file is used as */
  opened(facts: ModelFacts, chosen: boolean): void;
}

export function beginBox(form: HTMLFormElement): Begin {
  const [input, role, clear, look] = [
    byId<HTMLInputElement>("input"),
    byId<HTMLSelectElement>("role"),
    byId("input-clear"),
    byId("input-look"),
  ];
  let facts: ModelFacts | undefined;
  let address = "";
  const file = (): File | null => input.files?.[0] ?? null;

  /** The file as it looks, and the options that go with its use. */
  function showFile(): void {
    const chosen = file();
    byId("input-name").textContent = visible(chosen?.name ?? "");
    clear.hidden = !chosen;
    URL.revokeObjectURL(address);
    look.replaceChildren();
    if (chosen) {
      address = URL.createObjectURL(chosen);
      const film = chosen.type.startsWith("video/");
      const shown = film
        ? Object.assign(document.createElement("video"), { src: address, muted: true, loop: true, autoplay: true, playsInline: true })
        : Object.assign(document.createElement("img"), { src: address, alt: "" });
      // What the engine reads and the browser does not has no look.
      shown.addEventListener("error", () => shown.remove());
      if (film) shown.setAttribute("aria-hidden", "true");
      look.append(shown);
    }
    showOptions();
  }
  function showOptions(): void {
    const task = facts?.takes === "inpaint" ? "inpaint" : role.value;
    for (const [name, { page, tasks }] of OPTION_LIST)
      if (page?.at === "begin")
        form.querySelector<HTMLElement>(`label[for="${name}"]`)!.hidden =
          !file() || !(tasks as readonly string[] | undefined)?.includes(task);
  }
  input.addEventListener("change", showFile);
  role.addEventListener("change", showOptions);
  clear.addEventListener("click", () => {
    fillFile(input, null);
    input.focus();
  });
  showFile();

  return {
    picked() {
      const chosen = file();
      return chosen && { file: chosen, role: role.value as Role };
    },
    take(dropped, kind) {
      fillFile(input, dropped);
      const roles = facts?.roles ?? ["video"];
      const fits = roles.find((one) => (one === "image") === (kind === "picture"));
      role.value = fits ?? roles[0]!;
      byId<HTMLDetailsElement>("begin-box").open = true;
      showOptions();
    },
    opened(opened, chosen) {
      facts = opened;
      for (const option of role.options) option.hidden = !opened.roles.includes(option.value as Role);
      if (!chosen || !opened.roles.includes(role.value as Role)) role.value = opened.role;
      showOptions();
    },
  };
}
