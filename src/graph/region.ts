/** A part of a picture: what a tile covers, what of an input a part of an output is computed from. */

/** Rows and columns of a picture, the ends excluded. */
export interface Region {
  readonly top: number;
  readonly bottom: number;
  readonly left: number;
  readonly right: number;
}

/** The smallest region that holds both; `b` alone where there is no other. */
export const union = (a: Region | undefined, b: Region): Region =>
  a
    ? {
        top: Math.min(a.top, b.top),
        bottom: Math.max(a.bottom, b.bottom),
        left: Math.min(a.left, b.left),
        right: Math.max(a.right, b.right),
      }
    : b;

export const sameRegion = (a: Region, b: Region): boolean =>
  a.top === b.top && a.bottom === b.bottom && a.left === b.left && a.right === b.right;
