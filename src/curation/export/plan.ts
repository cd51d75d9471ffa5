/** What an export is made of: files that are texts, copies of clips or archives of both; and what reads them back. */
import type { DatasetSample } from "./rows.ts";

/** A file of a target, by its path below the target's folder. */
export type PlannedFile =
  | { readonly path: string; readonly text: string }
  /** The clip's file of the data set, as it is. */
  | { readonly path: string; readonly from: string }
  /** A tar with these members, in this order. */
  | { readonly path: string; readonly members: readonly PlannedMember[] };

/** A member of an archive. */
export type PlannedMember = { readonly name: string; readonly text: string } | { readonly name: string; readonly from: string };

/** A folder that was written, as its checker sees it. */
export interface WrittenFolder {
  /** The absolute path, with slashes. */
  readonly path: string;
  /** All files, by paths from the folder. */
  list(): Promise<readonly string[]>;
  text(path: string): Promise<string>;
  bytes(path: string): Promise<Uint8Array>;
}

/** A trainer's layout. */
export interface ExportTarget {
  /** As it is named on the command line. */
  readonly name: string;
  /** Who reads it. */
  readonly reader: string;
  /**
   * The files of one folder: of the whole data set, or of one of its splits. Throws for what the reader could not read.
   * @param folder the absolute path that they are for, where the layout depends on it
   */
  plan(rows: readonly DatasetSample[], folder: string): PlannedFile[];
  /** Reads a folder by the reader's own rules. @returns what it would refuse or get wrong; empty where all is well */
  check(folder: WrittenFolder, rows: readonly DatasetSample[]): Promise<string[]>;
}
