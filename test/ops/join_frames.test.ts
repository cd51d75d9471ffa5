import { joinFramesCases } from "../../src/check/sweep/cases/join_frames.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(joinFramesCases);
