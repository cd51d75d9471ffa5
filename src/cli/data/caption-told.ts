/** What captioning did, told to a person and to a machine. */
import { visible } from "../../base/visible.ts";
import { money, type Spent } from "../../curation/endpoint/spent.ts";
import type { AskedEstimate } from "../../curation/caption/lanes.ts";
import { print } from "../terminal/output.ts";
import type { Captioned, WrittenBatch } from "./caption.ts";

export const count = (n: number): string => n.toLocaleString("en");

/** Requests, tokens, cost, in a line. */
export const spentText = ({ requests, inputTokens, outputTokens, cost }: Spent): string =>
  `${count(requests)} requests, ${count(inputTokens)} tokens in, ${count(outputTokens)} out${cost ? `, cost ${money(cost)}` : ""}`;

export function captionJson({ captions, byHand, spent, estimate, batch }: Captioned): Record<string, unknown> {
  const all = [...captions];
  return {
    captioned: all.filter(([, { caption }]) => caption !== undefined).length,
    byHand,
    marked: all.flatMap(([id, { violations }]) => (violations ? [{ id, violations }] : [])),
    failed: all.flatMap(([id, { error }]) => (error === undefined ? [] : [{ id, error }])),
    spent,
    ...(estimate ? { estimate } : {}),
    ...(batch ? { batch } : {}),
  };
}

/** Names that are told of many. */
const NAMED = 5;

export function printCaptioned({ captions, byHand, spent, estimate, batch }: Captioned): void {
  if (estimate) {
    estimateText("Captions", estimate, spent);
    return;
  }
  const all = [...captions];
  const done = all.filter(([, { caption }]) => caption !== undefined);
  const marked = done.filter(([, { violations }]) => violations);
  const failed = all.filter(([, { error }]) => error !== undefined);
  print(`${count(done.length)} captioned, ${count(byHand)} by hand; ${spentText(spent)}`);
  if (marked.length) print(`${count(marked.length)} break a rule after all tries; their rows have it in caption_violations`);
  for (const [id, { error }] of failed.slice(0, NAMED)) print(`no caption: ${id}\n  ${visible(error!)}`);
  if (failed.length > NAMED) print(`… and ${count(failed.length - NAMED)} more without a caption, in caption_error`);
  if (batch) batchText(batch);
}

/** @param what `Captions` */
export function estimateText(what: string, { clips, measured, answered, seconds, failed, ...taken }: AskedEstimate, spent: Spent): void {
  const done = `by ${measured} of them, which are done and kept (${spentText(spent)})`;
  if (answered === clips) print(`${what} of all ${count(clips)} clips are there, and nothing is left to ask (now ${spentText(spent)}).`);
  else {
    print(`${what} of ${count(clips - answered)} clips that are left of ${count(clips)} will take about ${spentText(taken)},`);
    print(`and ${(seconds / 60).toFixed(1)} minutes, ${done}.`);
  }
  if (failed.length === 0) return;
  print(`${count(failed.length)} of the ${measured} got no answer that can be used:`);
  for (const { id, error } of failed.slice(0, NAMED)) print(`${id}\n  ${visible(error)}`);
}

export function batchText({ requests, files, broken }: WrittenBatch): void {
  if (requests) {
    print(`${count(requests)} requests are to be answered; put the answers' files into answers/ and run this again:`);
    for (const file of files) print(`  ${visible(file)}`);
  }
  if (broken.length) print(`Lines that are no answers: ${broken.slice(0, NAMED).map(visible).join(", ")}`);
}
