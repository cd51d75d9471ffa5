/** Asking in earnest but for the asking: what is left without an answer in the ledger is `AnswerPending`. */
import type { CaptionClip, CaptionModel } from "./caption.ts";
import { AnswerPending } from "./pending.ts";

const nothing = (): Promise<never> => Promise.reject(new AnswerPending());

/** A model whose answers are all still to come. */
export const mute = ({ modelName }: CaptionModel): CaptionModel => ({ modelName, chat: nothing });

/** Clips that nothing is read of, for there is nobody who would be shown it. */
export const unread = (clips: readonly CaptionClip[]): CaptionClip[] => clips.map((clip) => ({ ...clip, read: nothing }));
