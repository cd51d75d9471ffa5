/** A file that was refused, and why. */
export interface RefusedFile {
  readonly path: string;
  readonly stage: string;
  readonly message: string;
}
