/**
 * Captions by batch files: what would be asked is written down instead, and answers are taken from files. A request's id is a digest of
 * its body, so that an answer is found whichever run asked for it. Steps follow one another: after short captions and frames come the
 * merges, after those the few that must be asked for again.
 */
import { CogwheelError } from "../../base/errors.ts";
import { EndpointError } from "../endpoint/faults.ts";
import type { BatchAnswer, BatchRequest } from "../endpoint/batch.ts";
import { bodyOf, newDialect } from "../endpoint/message.ts";
import { isInProcess } from "../endpoint/in-process.ts";
import type { EndpointOptions } from "../endpoint/options.ts";
import { costOf, type Account } from "../endpoint/spent.ts";
import { digest } from "../ledger/key.ts";
import type { CaptionModel } from "./caption.ts";
import { AnswerPending } from "./pending.ts";

/** Where requests go that have no answer yet. */
export type BatchSink = (request: BatchRequest) => Promise<void>;

/** A model whose answers are in files. @param answers by the requests' ids */
export function batchModel(
  options: EndpointOptions,
  answers: ReadonlyMap<string, BatchAnswer>,
  sink: BatchSink,
  account: Account,
): CaptionModel {
  const { model } = options;
  if (isInProcess(options.url))
    throw new CogwheelError("caption", `a batch must be for a server, got ${options.url}, which answers at once; leave --batch out`);
  if (model === undefined)
    throw new CogwheelError("caption", "a batch must be for a model that is named, got none; give the endpoint's model in the config");
  const asked = new Set<string>();
  return {
    modelName: model,
    async chat(request) {
      const body = bodyOf(request, model, newDialect(), options.body);
      const id = digest(body).slice(0, 32);
      const found = answers.get(id);
      if (found && "reply" in found) {
        const { reply } = found;
        const usage = reply.usage ?? { input: 0, output: 0 };
        account.add(usage, options);
        return { ...reply, cost: costOf(usage, options), ms: 0 };
      }
      if (found) throw new EndpointError("request", `a batch must answer, got ${found.error}; run again without its file to ask anew`);
      if (!asked.has(id)) await sink({ id, body });
      asked.add(id);
      throw new AnswerPending();
    },
  };
}
