import { timestepEmbeddingCases } from "../../src/check/sweep/cases/timestep_embedding.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(timestepEmbeddingCases);
