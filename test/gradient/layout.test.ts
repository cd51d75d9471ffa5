import { joinTokensCases } from "../../src/check/sweep/cases/join_tokens.ts";
import { padColumnsCases } from "../../src/check/sweep/cases/pad_columns.ts";
import { patchifyCases } from "../../src/check/sweep/cases/patchify.ts";
import { gradientTests } from "../support/gradients.ts";

gradientTests(joinTokensCases);
gradientTests(patchifyCases);
gradientTests(padColumnsCases);
