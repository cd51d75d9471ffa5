/** A contender's result on its way to the bench: raw f32 in a file. */
import { readFileSync, writeFileSync } from "node:fs";

export function writeResult(file: string, data: Float32Array): void {
  writeFileSync(file, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
}

export function readResult(file: string): Float32Array {
  const bytes = readFileSync(file);
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}
