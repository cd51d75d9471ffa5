/** What a worker takes for its part of a clip, told from configs alone. */
import type { Capabilities } from "../../gpu/capabilities.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import { pieceBytes, planPiece } from "../../models/vae/split/run.ts";
import { shareOf, type SplitClip } from "../../models/vae/split/share.ts";
import { defined } from "../options.ts";
import { measurePlans, type StageMemory } from "../requirements.ts";
import { stageOf } from "../vae-requirements.ts";

/** What the worker takes that has the largest piece of a clip. */
export function measurePiece(config: VaeConfig, caps: Capabilities, clip: SplitClip, workers: number): StageMemory {
  const share = shareOf(config, clip, workers);
  const values = share.pieces.map((_, worker) =>
    Math.max(...share.turns(worker).map(({ parts }) => parts.reduce((n, { part }) => n + share.inputSize(worker, part), 0))),
  );
  // Of equal ones the last, which is given what the one before computed.
  const graphs = share.graphs(values.lastIndexOf(Math.max(...values)), { type: () => clip.dtype });
  const plans = graphs.map((graph) => planPiece(graph, caps));
  const measured = measurePlans(stageOf(clip), plans);
  const { io } = pieceBytes(plans, graphs);
  const saved = measured.io - io;
  const { pieceBatches } = clip;
  // What a worker keeps for its own next piece waits in the host's memory.
  const given = graphs.map(({ gives }) => gives.reduce((n, { tensor }) => n + tensor.bytes, 0));
  return {
    ...measured,
    ...defined({ pieceBatches }),
    io,
    total: measured.total - saved,
    peak: measured.peak - saved,
    host: pieceBatches === undefined ? 0 : Math.max(...given),
  };
}
