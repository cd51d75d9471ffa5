import { joinTokensCases } from "../../src/check/sweep/cases/join_tokens.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(joinTokensCases);
