/** What stands for an answer that a batch file will bring. */
import { CogwheelError } from "../../base/errors.ts";
import type { CaptionClip, CaptionModel } from "./caption.ts";

/** A request that a batch file will ask; its clip is done when the answer is there. */
export class AnswerPending extends CogwheelError {
  constructor() {
    super("caption", "an answer must be there, got none yet; send the batch files and run again");
  }
}

const nothing = (): Promise<never> => Promise.reject(new AnswerPending());

/** A model whose answers are all still to come. */
export const mute = ({ modelName }: CaptionModel): CaptionModel => ({ modelName, chat: nothing });

/** Clips that nothing is read of, for there is nobody who would be shown it. */
export const unread = (clips: readonly CaptionClip[]): CaptionClip[] => clips.map((clip) => ({ ...clip, read: nothing }));
