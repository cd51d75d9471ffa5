/** Captions of many clips: several at a time, an estimate from some of them, and a look at captions that agree too well. */
import { Endpoint } from "../endpoint/endpoint.ts";
import { InProcessModel, isInProcess } from "../endpoint/in-process.ts";
import type { EndpointOptions } from "../endpoint/options.ts";
import type { Account } from "../endpoint/spent.ts";
import { expectOwnCaptions } from "../export/equal.ts";
import { captionClip, type CaptionClip, type CaptionModel, type CaptionWork, type ClipCaption } from "./caption.ts";
import { type AskedEstimate, estimated, inLanes, type LaneOptions } from "./lanes.ts";
import { mute, unread } from "./unasked.ts";
import type { AskedValue } from "./record.ts";

/**
 * An endpoint as clips are asked about there. The server is not needed where the model is named and the ledger has every answer.
 * @param stage the ledger's stages whose names begin so have this endpoint's answers
 */
export async function captionModel(
  options: EndpointOptions,
  ledger: CaptionWork["ledger"],
  signal?: AbortSignal,
  stage = "caption.",
): Promise<CaptionModel> {
  if (isInProcess(options.url)) return new InProcessModel(options);
  const endpoint = new Endpoint(options);
  const modelName = options.model ?? (await endpoint.look(signal)).model;
  for (const result of ledger.results())
    if (result.stage.startsWith(stage) && (result.value as AskedValue | undefined)?.asked === modelName)
      endpoint.expectModel((result.value as AskedValue).model);
  return { modelName, chat: (request, stop) => endpoint.chat(request, stop) };
}

export interface CaptionAllOptions extends CaptionWork, LaneOptions {
  /** Whether clips of several sources may have one caption. */
  readonly equalCaptions?: boolean;
}

/** Captions from which on it is looked whether they agree too well, so that no money is spent on the rest. */
const LOOK_EVERY = 20;

/**
 * By the clips' ids; those whose answers a batch file will bring are left out. Throws what is wrong with an endpoint, and where clips of
 * several sources share a caption: a server that gives one answer to all spoils a data set that nobody looks at.
 */
export async function captionAll(clips: readonly CaptionClip[], options: CaptionAllOptions): Promise<Map<string, ClipCaption>> {
  const { equalCaptions = false, ledger } = options;
  const sources = new Map(clips.map(({ id, source }) => [id, source]));
  const look = (done: ReadonlyMap<string, ClipCaption>): void => {
    if (equalCaptions) return;
    const captions = [...done].flatMap(([id, { caption }]) => (caption === undefined ? [] : [{ id, caption, source: sources.get(id)! }]));
    expectOwnCaptions(captions);
  };
  const done = await inLanes(
    clips,
    ledger,
    options,
    (clip, signal) => captionClip(clip, { ...options, signal }),
    (made) => {
      if (made.size % LOOK_EVERY === 0) look(made);
    },
  );
  look(done);
  return done;
}

/** Asks for some clips' captions in earnest, which the run then has already, and tells what those that are left will take. */
export const estimateCaptions = (clips: readonly CaptionClip[], account: Account, options: CaptionAllOptions): Promise<AskedEstimate> =>
  estimated(clips, options.ledger, { stage: "caption.", lanes: options.lanes }, account, (some, pending) => {
    if (!pending) return captionAll(some, options);
    const [vision, summariser] = [mute(options.vision), mute(options.summariser)];
    return captionAll(unread(some), { ...options, vision, summariser, equalCaptions: true, onProgress: () => {} });
  });
