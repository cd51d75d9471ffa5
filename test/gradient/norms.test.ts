import { embeddingCases } from "../../src/check/sweep/cases/embedding.ts";
import { layerNormCases } from "../../src/check/sweep/cases/layer_norm.ts";
import { qkNormRopeCases } from "../../src/check/sweep/cases/qk_norm_rope.ts";
import { gradientTests } from "../support/gradients.ts";

gradientTests(layerNormCases, { cases: (c) => !c.name.includes("300 times") });
// Those that are made by a matmul are differentiated with it.
gradientTests(qkNormRopeCases, { cases: (c) => !c.name.includes("in place"), without: ["rope"] });
gradientTests(embeddingCases);
