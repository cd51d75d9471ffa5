/** What workers hand each other, between the layout on the device and that of a message. */
import { bytesOf } from "../../../graph/dtype.ts";
import type { Halo, SharedNorm } from "./exchange-graph.ts";

type Padded = Pick<Halo, "padded" | "channels" | "dtype">;

/** Positions of `padded` channels → of `channels`: padding is not sent. */
export function withoutPadding(bytes: Uint8Array<ArrayBuffer>, { padded, channels, dtype }: Padded): Uint8Array<ArrayBuffer> {
  if (channels === padded) return bytes;
  const [row, own] = [padded * bytesOf[dtype], channels * bytesOf[dtype]];
  const out = new Uint8Array((bytes.byteLength / row) * own);
  for (let at = 0, to = 0; at < bytes.byteLength; at += row, to += own) out.set(bytes.subarray(at, at + own), to);
  return out;
}

/** Positions of `channels` → of `padded` channels, zeros where padded. */
export function withPadding(bytes: Uint8Array<ArrayBuffer>, { padded, channels, dtype }: Padded): Uint8Array<ArrayBuffer> {
  if (channels === padded) return bytes;
  const [row, own] = [padded * bytesOf[dtype], channels * bytesOf[dtype]];
  const out = new Uint8Array((bytes.byteLength / own) * row);
  for (let at = 0, to = 0; at < bytes.byteLength; at += own, to += row) out.set(bytes.subarray(at, at + own), to);
  return out;
}

/** Records of one worker after another → those of a whole frame batch. */
export function joinRecords(
  { all, outer }: Pick<SharedNorm, "all" | "outer">,
  parts: readonly Uint8Array<ArrayBuffer>[],
): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(all.bytes);
  let at = 0;
  for (let i = 0; i < outer; i++)
    for (const part of parts) {
      const own = part.byteLength / outer;
      out.set(part.subarray(i * own, (i + 1) * own), at);
      at += own;
    }
  return out;
}
