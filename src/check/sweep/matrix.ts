/** The matrix of a sweep: a row for each specialisation, and in it a cell for each storage type and size. */
import type { Size } from "./case.ts";
import type { Precision } from "./draw.ts";
import type { Measured } from "./run-case.ts";

export const SIZES: readonly Size[] = ["tiny", "odd", "model"];
export const PRECISIONS: readonly Precision[] = ["f32", "f16"];

/** The worst of the cases of one size and storage type. */
export interface Cell {
  cases: number;
  /** Relative L2 of the case that uses most of its tolerance, and that tolerance. */
  error: number;
  tolerance: number;
  failed: boolean;
}

/** A specialisation, whatever its element types; its cells are missing where no case has that size or type. */
export interface SweepRow {
  readonly op: string;
  readonly kernel: string;
  readonly label: string;
  readonly params: "immediates" | "uniform";
  readonly cells: Partial<Record<Precision, Partial<Record<Size, Cell>>>>;
}

export class Matrix {
  readonly #rows = new Map<string, SweepRow>();
  /** Labels of all that ran, with their element types. */
  readonly labels = new Set<string>();

  get rows(): readonly SweepRow[] {
    return [...this.#rows.values()];
  }

  /** Counts what a case gave. A kernel that several lists run, as that which packs operands, is one row, under the first of them. */
  add(ran: Omit<SweepRow, "cells">, precision: Precision, size: Size, results: readonly Measured[]): void {
    this.labels.add(ran.label);
    const label = withoutTypes(ran.label);
    const key = `${label} ${ran.params}`;
    const row: SweepRow = this.#rows.get(key) ?? { ...ran, label, cells: {} };
    this.#rows.set(key, row);
    const cells = (row.cells[precision] ??= {});
    const cell = (cells[size] ??= { cases: 0, error: 0, tolerance: 0, failed: false });
    cell.cases++;
    for (const { error, tolerance, failed } of results) {
      if (cell.tolerance === 0 || failed || error / tolerance > cell.error / cell.tolerance) Object.assign(cell, { error, tolerance });
      cell.failed ||= failed;
    }
  }
}

/** A label without its element types: one row of the matrix for f32 and f16. */
const withoutTypes = (label: string): string => label.replace(/ \w+=(f32|f16|u32|i32)\b/g, "");
