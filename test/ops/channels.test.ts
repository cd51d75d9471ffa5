import { channelsCases } from "../../src/check/sweep/cases/channels.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(channelsCases);
