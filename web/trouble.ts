/** What went wrong, where the eye is: at the top of the stage or of the tab, and at the field that it is about. */
import { shortenedLines } from "../src/base/visible.ts";
import { byId } from "./dom.ts";

/** @param message null takes away what was told @param field what it is about, which is marked and, where that disturbs nobody, focused */
export type Tell = (message: string | null, field?: HTMLElement | null) => void;

/** An error for people: `[room] rule, got value; remedy` in two sentences. */
export interface Words {
  what: string;
  remedy: string;
  /** The whole message, where more is in it. */
  details: string;
}

/** The longest value that a sentence can carry. */
const SHORT = 80;

export function inWords(message: string): Words {
  const [, body] = /^\[[\w -]+\] ([\s\S]+)$/.exec(message) ?? [];
  if (body === undefined) {
    if (/allocation failed|out of memory|Invalid (typed )?array length/i.test(message))
      return { what: "There is not enough memory for that.", remedy: "Choose a smaller size or fewer frames.", details: message };
    return { what: message, remedy: "", details: "" };
  }
  const got = body.lastIndexOf(", got ");
  const end = body.lastIndexOf("; ");
  const rule = body.slice(0, got < 0 ? (end < 0 ? undefined : end) : got);
  const value = got < 0 ? "" : body.slice(got + 6, end > got ? end : undefined);
  const said = value && value.length <= SHORT ? ` (got ${value})` : "";
  return { what: `${sentence(rule)}${said}.`, remedy: end > got ? `${sentence(body.slice(end + 2))}.` : "", details: message };
}

/** A capital first, unless it is a name or a path. */
const sentence = (text: string): string =>
  text.replace(/^[a-z]+(?=[ ,’'])/, (word) => word[0]!.toUpperCase() + word.slice(1)).replace(/\.$/, "");

/** The field of a form that a message is about: the one that it has a value of, else the first that its rule names. */
export function fieldOf(form: HTMLFormElement, message: string): HTMLElement | null {
  if (/\blora\b/i.test(message)) return form.querySelector<HTMLElement>("#adapter-file");
  const [rule, value = ""] = message.split(", got ");
  for (const [word] of `${value.split(" ")[0]} ${rule}`.matchAll(/\b[a-zA-Z]+\b/g)) {
    const field = form.elements.namedItem(word);
    // What is not shown is not what is asked for, though a word of the message is its name.
    if (field instanceof HTMLElement && word !== "model" && word !== "url" && !field.closest("[hidden]")) return field;
  }
  return null;
}

export function troubleTeller(): Tell {
  const notice = byId("notice");
  let marked: HTMLElement | null = null;
  let described: string | null = null;
  const unmark = (): void => {
    marked?.removeAttribute("aria-invalid");
    if (marked && described !== null) marked.setAttribute("aria-describedby", described);
    else marked?.removeAttribute("aria-describedby");
    marked = null;
  };
  /** Something was typed since the last word of what went wrong, or of nothing: somebody is at it. */
  let typed = false;
  document.addEventListener("input", ({ target }) => {
    typed = true;
    if (target !== marked) return;
    // What is said of a field is no longer true of it.
    unmark();
    notice.hidden = true;
  });

  return (message, field = null) => {
    unmark();
    const busy = typed;
    typed = false;
    notice.hidden = message === null;
    notice.replaceChildren();
    if (message === null) return;
    // In the tab that is open, where its result would be.
    const panel = document.querySelector<HTMLElement>('[role="tabpanel"]:not([hidden])')!;
    const place = panel.querySelector(":scope > #stage") ?? panel;
    if (notice.parentElement !== place) place.prepend(notice);
    const { what, remedy, details } = inWords(message);
    const line = (tag: "strong" | "p", text: string): HTMLElement =>
      Object.assign(document.createElement(tag), { textContent: shortenedLines(text) });
    notice.append(line("strong", what));
    if (remedy) notice.append(line("p", remedy));
    if (details) {
      const more = document.createElement("details");
      more.append(Object.assign(document.createElement("summary"), { textContent: "Details" }), line("p", details));
      notice.append(more);
    }
    if (field) {
      marked = field;
      described = field.getAttribute("aria-describedby");
      field.setAttribute("aria-invalid", "true");
      field.setAttribute("aria-describedby", [described, notice.id].filter(Boolean).join(" "));
      for (let box = field.closest("details"); box; box = box.parentElement!.closest("details")) box.open = true;
      // Somebody who types elsewhere meanwhile is not taken away from there.
      const at = document.activeElement;
      if (!busy || !at || at === document.body || at instanceof HTMLButtonElement) field.focus({ preventScroll: true });
    }
    notice.scrollIntoView({ block: "nearest" });
    field?.scrollIntoView({ block: "nearest" });
  };
}
