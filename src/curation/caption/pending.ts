/** What stands for an answer that a batch file will bring. */
import { CogwheelError } from "../../base/errors.ts";

/** A request that a batch file will ask; its clip is done when the answer is there. */
export class AnswerPending extends CogwheelError {
  constructor() {
    super("caption", "an answer must be there, got none yet; send the batch files and run again");
  }
}
