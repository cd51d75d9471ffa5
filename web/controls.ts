/**
 * The form's controls, made from the table of options: what a generation takes, and the
 * page can show, is here without a line of its own.
 */
import type { GenerateOptions, Settings } from "../src/index.ts";
import type { Option } from "../src/pipelines/options/option.ts";
import { OPTION_LIST, SETTINGS, type OptionName } from "../src/pipelines/options/table.ts";
import { bytesOfText } from "../src/base/units.ts";
import { byId } from "./dom.ts";

type Shown = Option<unknown> & { readonly page: NonNullable<Option<unknown>["page"]> };
const shownAt = (...groups: readonly string[]): (readonly [OptionName, Shown])[] =>
  OPTION_LIST.filter((entry): entry is readonly [OptionName, Shown] => groups.includes(entry[1].page?.at ?? ""));

/** Options with a control of their own. */
const CONTROLS = shownAt("begin", "settings", "advanced");
/** Those that a link may carry; what belongs to a file goes with it, and what belongs to a machine stays there. */
export const LINKED: readonly string[] = shownAt("settings", "advanced").flatMap(([name, { saved }]) => (saved ? [name] : []));

/** Those whose list is a model's. */
const LISTED: ReadonlySet<string> = new Set(CONTROLS.flatMap(([name, { page }]) => (page.listed ? [name] : [])));

const make = <T extends keyof HTMLElementTagNameMap>(tag: T, properties: Partial<HTMLElementTagNameMap[T]>): HTMLElementTagNameMap[T] =>
  Object.assign(document.createElement(tag), properties);

/** The control of an option, by the kind of its values. */
function control(name: OptionName, { values, page, fallback }: Shown): HTMLInputElement | HTMLSelectElement {
  if (values.kind === "choice") {
    const select = make("select", { id: name, name });
    for (const [value, textContent] of Object.entries(values.choices!)) select.append(make("option", { value, textContent }));
    return select;
  }
  if (page.listed) return make("select", { id: name, name });
  if (values.kind === "switch") return make("input", { id: name, name, type: "checkbox" });
  const input = make("input", { id: name, name, type: values.kind === "number" ? "number" : "text", placeholder: page.placeholder ?? "" });
  if (values.kind !== "number") return input;
  input.min = String(page.min ?? values.min ?? "");
  input.max = String(values.max === Number.MAX_SAFE_INTEGER ? "" : (values.max ?? ""));
  input.step = String(page.step ?? (values.whole ? 1 : "any"));
  if (fallback !== undefined) input.value = String(fallback);
  return input;
}

/** A control with its label and hint. */
function labelled(name: OptionName, option: Shown): HTMLLabelElement {
  const { label, hint, wide, listed } = option.page;
  const input = control(name, option);
  if (option.values.kind === "switch") {
    const choice = make("label", { className: "choice wide", htmlFor: name });
    choice.append(input, ` ${label}`);
    return choice;
  }
  const field = make("label", { className: wide || listed ? "field wide" : "field", htmlFor: name });
  field.append(`${label} `, input);
  if (hint !== undefined) {
    input.setAttribute("aria-describedby", `${name}-hint`);
    field.append(make("span", { id: `${name}-hint`, className: "hint", textContent: hint }));
  }
  return field;
}

/** Fills the form's groups; to be called once. */
export function addControls(): void {
  for (const at of ["begin", "settings", "advanced"]) {
    // What is as wide as the form comes first or last, so that it leaves no gaps.
    const place = ({ page }: Shown): number => (page.listed ? 0 : page.wide ? 2 : 1);
    const shown = shownAt(at).sort(([, a], [, b]) => place(a) - place(b));
    byId(`${at}-options`).append(...shown.map(([name, option]) => labelled(name, option)));
  }
  // What checkpoints for text begin from is chosen until a model says otherwise.
  for (const [value, { page, tasks }] of shownAt("role"))
    byId("role").append(make("option", { value, textContent: page.label, selected: tasks?.includes("video") ?? false }));
}

const field = (form: HTMLFormElement, name: string): HTMLInputElement | HTMLSelectElement =>
  form.elements.namedItem(name) as HTMLInputElement | HTMLSelectElement;

/** Sets a control. */
export function setControl(form: HTMLFormElement, name: string, value: string): void {
  const input = field(form, name);
  if (input instanceof HTMLInputElement && input.type === "checkbox") {
    input.checked = value !== "" && value !== "false";
    return;
  }
  // What a list holds is known once a model is open, which then says whether this can be.
  if (input instanceof HTMLSelectElement && LISTED.has(name) && value !== "" && ![...input.options].some((one) => one.value === value))
    input.add(new Option(value, value));
  input.value = value;
}

/** What the form says, without what is left empty. */
export function optionValues(form: HTMLFormElement): Partial<GenerateOptions> {
  const said = CONTROLS.flatMap(([name, { values }]): [string, unknown][] => {
    const input = field(form, name);
    if (values.kind === "switch") return (input as HTMLInputElement).checked ? [[name, true]] : [];
    if (input.value.trim() === "") return [];
    // What is no size in bytes is refused with the number that it is not.
    if (values.kind === "bytes") return [[name, bytesOfText(input.value) ?? Number.NaN]];
    const words = input.value.split(/[\s,]+/).filter(Boolean);
    if (values.kind === "numbers") return [[name, words.map(Number)]];
    return [[name, values.kind === "number" ? Number(input.value) : input.value]];
  });
  return Object.fromEntries(said);
}

/** A model's own advice goes into the fields that nobody touched. */
export function showDefaults(form: HTMLFormElement, defaults: Settings, touched: ReadonlySet<string>): void {
  for (const name of Object.keys(SETTINGS) as (keyof Settings)[])
    if (!touched.has(name)) setControl(form, name, String(defaults[name] ?? ""));
}
