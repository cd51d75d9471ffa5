/** The layouts that a data set is exported to; another is a file here and an entry below. */
import { cogvideo, diffusers } from "./lists.ts";
import { openSora } from "./open-sora.ts";
import type { ExportTarget } from "./plan.ts";
import { sat } from "./sat.ts";
import { videofolder } from "./videofolder.ts";
import { videoxFun } from "./videox-fun.ts";
import { webdataset } from "./webdataset.ts";

export const TARGETS: readonly ExportTarget[] = [videofolder, cogvideo, diffusers, sat, videoxFun, openSora, webdataset];
