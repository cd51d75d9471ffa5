/** Frames to encode, and how near they come back. */
import type { Frame } from "../../src/video/frame.ts";

/** Frames as they come out of a decoder: a red disc with a soft edge moving over a gradient, with a little grain. */
export function film({ width = 64, height = 64, count = 17, channels = 4 } = {}): Frame[] {
  return Array.from({ length: count }, (_, index) => {
    const data = new Uint8Array(width * height * channels).fill(255);
    const centre = width * (0.25 + (0.5 * index) / Math.max(1, count - 1));
    for (let y = 0, at = 0; y < height; y++) {
      for (let x = 0; x < width; x++, at += channels) {
        const inside = 1 / (1 + Math.exp((Math.hypot(x - centre, y - height / 2) - width / 5) / 1.2));
        const grain = (((x * 73 + y * 179 + index * 37) * 2654435761) >>> 28) / 4 - 2;
        data[at] = 30 + 60 * (x / width) + inside * 150 + grain;
        data[at + 1] = 90 + 60 * (y / height) - inside * 60 + grain;
        data[at + 2] = 150 - inside * 110 + grain;
      }
    }
    return { width, height, data };
  });
}

/** Peak signal to noise ratio of the colours, in dB. */
export function psnr(want: Frame, got: Frame): number {
  const [from, to] = [want, got].map((frame) => frame.data.length / (frame.width * frame.height)) as [number, number];
  let error = 0;
  for (let pixel = 0; pixel < want.width * want.height; pixel++) {
    for (let channel = 0; channel < 3; channel++) error += (want.data[pixel * from + channel]! - got.data[pixel * to + channel]!) ** 2;
  }
  return 10 * Math.log10((255 ** 2 * 3 * want.width * want.height) / Math.max(error, 1e-9));
}
