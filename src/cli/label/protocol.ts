/** What the page to label by and its server tell each other. */
import type { ColumnVerdict, Criterion } from "../../curation/label/confusion.ts";
import type { Judgement } from "../../curation/label/judged.ts";

/** What the page begins with. */
export interface LabelState {
  /** In the order in which they are shown. */
  readonly clips: readonly { readonly id: string; readonly name: string; readonly start: number; readonly end: number }[];
  readonly judged: readonly Judgement[];
}

/** Of a clip, one after another; how many there are is told with the clip. */
export interface ClipView {
  readonly pictures: number;
}

export interface LabelResult {
  readonly by: Criterion;
  readonly judged: number;
  readonly columns: readonly ColumnVerdict[];
}
