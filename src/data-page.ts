/// <reference lib="dom" preserve="true" />
/**
 * `cogwheel-webgpu/data` in a page: from films that are in memory to clips and what is measured of them. What needs a disk or processes of
 * its own (`Curation`) is in Node alone.
 */
import "./base/dispose.ts";
export { parseFilter, type Columns, type Filter, type FilterPart } from "./curation/filter.ts";
export {
  CURVES,
  Curves,
  decodeCurves,
  decodePictures,
  encodeCurves,
  type CurveName,
  type CurvePicture,
} from "./curation/curves/columns.ts";
export { clipsOf, CLIP_DEFAULTS, shotsOf, type ClipLengths, type PlannedClip, type Shot } from "./curation/cuts/clips.ts";
export {
  contentOf,
  DETECT_DEFAULTS,
  DETECTORS,
  detectTransitions,
  type DetectOptions,
  type DetectorName,
  type Transition,
} from "./curation/cuts/detect.ts";
export { NETWORK_FRAME, type ShotNetwork } from "./curation/cuts/network.ts";
export { filterOf, select, type Selection } from "./curation/dataset/select.ts";
export type { DatasetRow } from "./curation/dataset/rows.ts";
export { clipId, resultKey } from "./curation/ledger/key.ts";
export { Ledger, memoryLedgerStore, resultOfStage, type LedgerStore } from "./curation/ledger/ledger.ts";
export { clipsLike, storyOf, type ClipStory } from "./curation/ledger/story.ts";
export { duplicatesOf, type HashedClip } from "./curation/measures/duplicates.ts";
export { scoresOf, type ClipScores } from "./curation/measures/scores.ts";
export { CUT_DEFAULTS, SELECT_DEFAULTS, type CutOptions, type SelectOptions } from "./curation/options.ts";
export { reportOf, type CurationReport } from "./curation/report/page.ts";
export type { ReportedClip } from "./curation/report/reported.ts";
export type {
  CutClip,
  CutSpan,
  LedgerStage,
  MediaFacts,
  Source as CurationSource,
  SourceClip,
  StageCost,
  StageError,
  StageResult,
} from "./curation/types.ts";
export {
  bytesTaskFile,
  runTask,
  shrunkFrames,
  type CurvesTask,
  type CutTask,
  type FileTask,
  type ScannedCurves,
  type ScanTask,
  type TaskFile,
} from "./curation/work/tasks.ts";
