/** Labels of drawn clips by a local server: one request a clip, the ledger between runs, and what goes wrong. */
import { beforeAll, expect, it } from "vitest";
import { batchModel } from "../../src/curation/caption/batch.ts";
import type { CaptionClip } from "../../src/curation/caption/caption.ts";
import { captionModel } from "../../src/curation/caption/run.ts";
import { filterOf, partsWithout, select } from "../../src/curation/dataset/select.ts";
import { readBatchAnswers } from "../../src/curation/endpoint/batch.ts";
import { Account } from "../../src/curation/endpoint/spent.ts";
import { estimateLabels, LABEL_DEFAULTS, labelAll, labelClip, type LabelOptions, type LabelWork } from "../../src/curation/label/label.ts";
import { LABEL_COLUMNS, LABEL_INSTRUCTIONS, LABEL_NAMES } from "../../src/curation/label/labels.ts";
import { Ledger, memoryLedgerStore } from "../../src/curation/ledger/ledger.ts";
import { brightening } from "../support/brightening.ts";
import { type Answered, type Asked, chatServer, type ChatServer, completion } from "../support/chat-server.ts";

let film: Uint8Array<ArrayBuffer>;
let picture: Uint8Array<ArrayBuffer>;
beforeAll(async () => {
  ({ film, picture } = await brightening());
});

const clip = (id: string, kind: "film" | "picture" = "film"): CaptionClip => ({
  id,
  source: `source-${id}`,
  kind,
  duration: 6,
  key: `clip-key-${id}`,
  name: `${id}.mp4`,
  read: () => Promise.resolve(kind === "film" ? film : picture),
});
const judged = (more: Record<string, number> = {}): string =>
  JSON.stringify({ ...Object.fromEntries(LABEL_NAMES.map((name) => [name, 0])), watermark: 3, aesthetic: 6, ...more });
const pictures = ({ body }: Asked): number =>
  body.messages.at(-1).content.filter(({ type }: { type: string }) => type === "image_url").length;

async function workOn(server: ChatServer, store = memoryLedgerStore(), options: Partial<LabelOptions> = {}): Promise<LabelWork> {
  const ledger = await Ledger.open(store);
  const vision = await captionModel({ url: server.url, tries: 2 }, ledger, undefined, "label");
  return { ledger, lanes: 4, options: { ...LABEL_DEFAULTS, ...options }, vision };
}
const served = (answer: (asked: Asked) => Answered, model?: string): Promise<ChatServer> =>
  chatServer({ models: { data: [{ id: "eyes" }] }, answer, ...(model ? { model } : {}) });

it("one request a clip, with frames in order and a schema; nothing asked twice, and all anew by other instructions", async () => {
  const store = memoryLedgerStore();
  await using server = await served(() => `Here it is:\n\`\`\`json\n${judged({ lecture: 9 })}\n\`\`\``, "eyes-7b");
  const work = await workOn(server, store);
  const made = await labelClip(clip("a"), work);
  expect(made).toMatchObject({ model: "eyes-7b", labels: { aesthetic: 6, watermark: 0.3, label: { lecture: 0.9, editing: 0 } } });
  const [asked] = server.asked;
  expect(server.asked).toHaveLength(1);
  expect(pictures(asked!)).toBe(6);
  expect(asked!.body.messages[0]).toEqual({ role: "system", content: LABEL_INSTRUCTIONS });
  expect(asked!.body.response_format.json_schema.schema.required.toSorted()).toEqual([...LABEL_NAMES, "watermark", "aesthetic"].toSorted());
  for (const name of LABEL_NAMES) expect(LABEL_INSTRUCTIONS).toContain(`- ${name}: `);
  await work.ledger.flush();
  expect(store.text()).not.toContain("base64");

  expect(await labelClip(clip("a"), await workOn(server, store))).toEqual(made);
  expect(server.asked, "the ledger has it").toHaveLength(1);
  const other = await workOn(server, store, { instructions: "Judge severely." });
  await labelClip(clip("a"), other);
  await labelClip(clip("p", "picture"), other);
  expect(server.asked.map(pictures)).toEqual([6, 6, 1]);
  expect(server.asked[1]!.body.messages[0].content).toBe("Judge severely.");
});

it("what is no answer is asked for three times, with other seeds; then it is an error that the next run tries again", async () => {
  const store = memoryLedgerStore();
  let answer = (index: number): string => ["no", "no", judged({ text: 11 }), judged({ text: 10 })][index]!;
  await using server = await served(({ index }) => answer(index));
  const first = await workOn(server, store);
  expect(await labelClip(clip("a"), first)).toMatchObject({ labels: { label: { text: 1 } } });
  await first.ledger.flush();
  // The first was asked for twice: by a parameter, which this server ignores, and in words.
  expect(server.asked.map(({ body }) => body.seed)).toEqual([0, 0, 1, 2]);
  answer = () => "I cannot judge people.";
  const work = await workOn(server, store);
  const all = await labelAll([clip("b"), clip("a")], work);
  expect(all.get("b")).toEqual({ error: expect.stringContaining("the answer must hold a JSON object") });
  expect(all.get("a")).toHaveProperty("labels");
  answer = () => judged();
  expect(await labelClip(clip("b"), await workOn(server, store))).toHaveProperty("labels");
});

it("an estimate from twenty clips in earnest, and a limit that ends the run before it is passed", async () => {
  await using server = await served(() => judged());
  const account = new Account({ maxRequests: 21 });
  const ledger = await Ledger.open(memoryLedgerStore());
  const vision = await captionModel({ url: server.url, account, inputPerMillion: 10 }, ledger, undefined, "label");
  const work: LabelWork = { ledger, lanes: 3, options: LABEL_DEFAULTS, vision };
  const many = Array.from({ length: 40 }, (_, i) => clip(`c${i}`, "picture"));
  const told = await estimateLabels(many, account, work);
  expect(told).toMatchObject({ clips: 40, measured: 20, answered: 20, requests: 20, inputTokens: 2000 });
  expect(told.cost).toBeCloseTo(0.02);
  // Asked again it takes nothing, and tells the time that it took.
  const again = await estimateLabels(many, account, work);
  expect(again).toMatchObject({ requests: 20, inputTokens: 2000, failed: [] });
  expect(again.seconds).toBeGreaterThan(0);
  await expect(labelAll(many, work)).rejects.toThrow("requests must stay within maxRequests, got 21 sent");
  expect(server.asked).toHaveLength(21);
});

it("by batch files; what is no answer there is asked for again under another id", async () => {
  const ledger = await Ledger.open(memoryLedgerStore());
  const lines: string[] = [];
  const round = async (answers: readonly string[]): Promise<Map<string, unknown>> => {
    const replies = lines.splice(0).map((line, i) => {
      const { custom_id } = JSON.parse(line);
      return JSON.stringify({ custom_id, response: { status_code: 200, body: completion(answers[i]!) }, error: null });
    });
    const found = new Map(readBatchAnswers(replies.join("\n")).answers.map((one) => [one.id, one]));
    for (const [id, one] of found) kept.set(id, one);
    const sink = ({ id, body }: { id: string; body: object }): Promise<void> =>
      Promise.resolve(void lines.push(JSON.stringify({ custom_id: id, body })));
    const vision = batchModel({ url: "http://unused.invalid", model: "eyes" }, kept, sink, new Account());
    return await labelAll([clip("a"), clip("b", "picture")], { ledger, lanes: 2, options: LABEL_DEFAULTS, vision });
  };
  const kept = new Map();
  expect((await round([])).size).toBe(0);
  expect(lines).toHaveLength(2);
  const second = await round([judged(), judged({ aesthetic: 0 })]);
  expect([...second.keys()]).toHaveLength(1);
  expect(lines).toHaveLength(1);
  expect((await round([judged()])).size).toBe(2);
});

it("filters know the columns, and which of their parts ask for none of them", () => {
  const filter = filterOf("motion > 0.3 && aesthetic >= 4.5 && (scores.watermark < 0.5 || width > 9) && label.lecture < 0.5 && width > 1")!;
  expect(partsWithout(filter, LABEL_COLUMNS).parts.map(({ text }) => text)).toEqual(["motion > 0.3", "width > 1"]);
  expect(() => filterOf("label.lectur < 0.5")).toThrow("the nearest is label.lecture");
});

it("a clip is told as dropped by what was looked at first, wherever that stands in the expression", () => {
  const filter = filterOf("label.text < 0.5 && text_area < 0.07 && motion > 0.3");
  const unknown = { label: { text: null }, text_area: null, duplicate_of: null };
  const rows = [
    { ...unknown, motion: 0.1 },
    { ...unknown, motion: 0.5, duplicate_of: "another" },
    { ...unknown, motion: 0.5, text_area: 0.2 },
    { ...unknown, motion: 0.5, text_area: 0.01, label: { text: 0.9 } },
    { ...unknown, motion: 0.5, text_area: 0.01, label: { text: 0.1 } },
  ];
  const { reasons, dropped } = select(rows, filter, "drop");
  expect(reasons).toEqual(["motion > 0.3", "duplicate", "text_area < 0.07", "label.text < 0.5", undefined]);
  expect(Object.keys(dropped)).toEqual(["label.text < 0.5", "text_area < 0.07", "motion > 0.3", "duplicate"]);
});
