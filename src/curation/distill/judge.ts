/** Two captions of one clip before a judge, in both orders: who names the first one whatever it is decides nothing. */
import type { CaptionModel } from "../caption/caption.ts";
import type { ChatAnswer } from "../endpoint/endpoint.ts";
import { objectOf } from "../endpoint/schema.ts";

const SYSTEM =
  "You compare two captions of one short clip by what is known of the clip: a short caption and descriptions of its frames. The " +
  "better caption says more of what is there, invents less, and has events in their order. Its length does not count. Answer with JSON: " +
  '{"better": "A"}, {"better": "B"} or {"better": "same"}.';
const SCHEMA = { name: "verdict", schema: objectOf({ better: { type: "string", enum: ["A", "B", "same"] } }) };

/** `won` where the text is better in both orders, `lost` where it is worse in both; a judge that turns with the order sees no difference. */
export type JudgeVerdict = "won" | "lost" | "tied";

/** @param known what the summarisers read */
export async function judged(
  judge: CaptionModel,
  { known, text, reference }: { known: string; text: string; reference: string },
  signal?: AbortSignal,
): Promise<JudgeVerdict> {
  const ask = async (a: string, b: string): Promise<string> => {
    const parts = [{ text: `${known}\n\nCaption A: ${a}\n\nCaption B: ${b}\n\nWhich is better?` }];
    const answer: ChatAnswer = await judge.chat({ system: SYSTEM, parts, schema: SCHEMA, temperature: 0, maxTokens: 64 }, signal);
    return (answer.value as { better: string }).better;
  };
  const [first, second] = await Promise.all([ask(text, reference), ask(reference, text)]);
  if (first === "A" && second === "B") return "won";
  return first === "B" && second === "A" ? "lost" : "tied";
}
