/** The adapter that videos are made with: a file that a visitor picks, or one that was trained here. */
import { visible } from "../src/base/visible.ts";
import { byId } from "./dom.ts";
import { fillFile } from "./drops.ts";

export function adapterPicker(): { picked(): { file: File; scale: number } | null; use(file: File): void; take(file: File): void } {
  const [input, scale, name, clear] = [
    byId<HTMLInputElement>("adapter-file"),
    byId<HTMLInputElement>("adapter-scale"),
    byId("adapter-name"),
    byId("adapter-clear"),
  ];
  let trained: File | undefined;
  const file = (): File | undefined => input.files?.[0] ?? trained;
  const show = (): void => {
    name.textContent = trained && !input.files?.length ? "trained here" : visible(file()?.name ?? "");
    clear.hidden = file() === undefined;
  };
  input.addEventListener("change", show);
  clear.addEventListener("click", () => {
    input.value = "";
    trained = undefined;
    show();
  });
  return {
    picked() {
      const chosen = file();
      return chosen ? { file: chosen, scale: scale.value.trim() === "" ? 1 : scale.valueAsNumber } : null;
    },
    take(dropped) {
      byId<HTMLDetailsElement>("adapter-box").open = true;
      fillFile(input, dropped);
    },
    use(adapter) {
      input.value = "";
      trained = adapter;
      byId<HTMLDetailsElement>("adapter-box").open = true;
      show();
    },
  };
}
