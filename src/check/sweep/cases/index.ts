/** All case lists. An op that is not here is reported by the sweep: its kernel is in `kernels/` and nothing runs it. */
import type { OpCases } from "../case.ts";
import { attentionCases } from "./attention.ts";
import { conv3dCases } from "./conv3d.ts";
import { gatedGeluCases, padColumnsCases, schedulerStepCases, siluCases } from "./elementwise.ts";
import { embeddingCases, joinTokensCases, patchifyCases, relativeBiasCases, timestepEmbeddingCases } from "./embed.ts";
import { matmulCases } from "./matmul.ts";
import { groupNormCases, layerNormCases, qkNormRopeCases, rmsNormCases } from "./norm.ts";
import { causalCacheCases, channelsCases, nearestUpsampleCases, pixelsCases, temporalPoolCases } from "./video.ts";

export const allCases: readonly OpCases[] = [
  matmulCases,
  attentionCases,
  qkNormRopeCases,
  conv3dCases,
  groupNormCases,
  layerNormCases,
  rmsNormCases,
  patchifyCases,
  joinTokensCases,
  timestepEmbeddingCases,
  embeddingCases,
  relativeBiasCases,
  gatedGeluCases,
  siluCases,
  padColumnsCases,
  schedulerStepCases,
  channelsCases,
  pixelsCases,
  causalCacheCases,
  nearestUpsampleCases,
  temporalPoolCases,
];
