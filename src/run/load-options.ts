/** What whoever loads weights is told. */

export interface LoadOptions {
  /** What errors call it. Default `loading weights`. */
  what?: string;
  signal?: AbortSignal;
  /** How much is done, of all there is to do. */
  onProgress?: (done: number, total: number) => void;
}
