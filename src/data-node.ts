/**
 * `cogwheel-webgpu/data` in Node: what `cogwheel data` does, for apps. A `Curation` goes from a folder of raw videos to a data set, stage
 * by stage; the parts that need no disk are those of a page too (data-page.ts). docs/data.md tells of both.
 */
export * from "./data-page.ts";
export { Curation, type CurationOptions } from "./curation/curate-node.ts";
export type { CutSource, ScannedSource, ScoredClip, WrittenClip } from "./curation/results.ts";
export { fileLedgerStore } from "./curation/ledger/ledger-node.ts";
export type { RefusedFile } from "./curation/refused.ts";
export { writeCurationReport, type ReportInput } from "./curation/report/write-node.ts";
export { shotNetworkOf } from "./data/shot-network.ts";
export { TransNet, type FrameReader, type ScoreOptions, type TransNetScores } from "./models/transnet/model.ts";
