/** The form as it was left: of this tab where it is loaded again, else of the tab that was used last. */
import type { FormValues } from "./protocol.ts";

export interface KeptForm {
  values: FormValues;
  /** The fields that somebody set: a model's advice does not go into them. */
  touched: string[];
  /** The link that was in the address then, whose part is done. */
  hash: string;
}

const KEY = "cogwheel.form";

/** @returns null where there is none, and where a link asks for something else */
export function formBefore(hash: string): KeptForm | null {
  const read = (storage: Storage): KeptForm | null => {
    const kept = JSON.parse(storage.getItem(KEY) ?? "null") as Partial<KeptForm> | null;
    return kept?.values && Array.isArray(kept.touched) ? { hash: "", ...kept, values: kept.values, touched: kept.touched } : null;
  };
  try {
    const own = read(sessionStorage);
    if (own) return own.hash === hash || !hash ? own : null;
    return hash ? null : read(localStorage);
  } catch {
    return null; // where a browser gives a page no storage, or another page of this origin wrote into it
  }
}

export function keepForm(form: KeptForm): void {
  try {
    const text = JSON.stringify(form);
    sessionStorage.setItem(KEY, text);
    localStorage.setItem(KEY, text);
  } catch {
    // No storage: the form is then as a new page has it.
  }
}
