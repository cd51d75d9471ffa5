/** What workers hand each other, between the layout on the device and that of a message. */
import { bytesOf } from "../../../graph/dtype.ts";
import type { Tensor } from "../../../graph/tensor.ts";

/** [..., C padded] → [..., channels]: padding is not sent. */
export function withoutPadding(bytes: Uint8Array<ArrayBuffer>, tensor: Tensor, channels: number): Uint8Array<ArrayBuffer> {
  const padded = tensor.dim(-1);
  if (channels === padded) return bytes;
  const [row, own] = [padded * bytesOf[tensor.dtype], channels * bytesOf[tensor.dtype]];
  const out = new Uint8Array((bytes.byteLength / row) * own);
  for (let at = 0, to = 0; at < bytes.byteLength; at += row, to += own) out.set(bytes.subarray(at, at + own), to);
  return out;
}

/** [..., channels] → [..., C padded with zeros] */
export function withPadding(bytes: Uint8Array<ArrayBuffer>, tensor: Tensor, channels: number): Uint8Array<ArrayBuffer> {
  const padded = tensor.dim(-1);
  if (channels === padded) return bytes;
  const [row, own] = [padded * bytesOf[tensor.dtype], channels * bytesOf[tensor.dtype]];
  const out = new Uint8Array(tensor.bytes);
  for (let at = 0, to = 0; at < bytes.byteLength; at += own, to += row) out.set(bytes.subarray(at, at + own), to);
  return out;
}

/** Records [B, units, 3, C] of one worker after another → those of a whole frame batch, `all` [B, all units, 3, C]. */
export function joinRecords(all: Tensor, parts: readonly Uint8Array<ArrayBuffer>[]): Uint8Array<ArrayBuffer> {
  const batches = all.dim(0);
  const out = new Uint8Array(all.bytes);
  let at = 0;
  for (let b = 0; b < batches; b++)
    for (const part of parts) {
      const own = part.byteLength / batches;
      out.set(part.subarray(b * own, (b + 1) * own), at);
      at += own;
    }
  return out;
}
