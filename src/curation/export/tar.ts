/** Archives in ustar's format, written in pieces: the same members make the same bytes, whoever writes them and when. */
import { CogwheelError } from "../../base/errors.ts";

const BLOCK = 512;

/** The header of a file. @param name at most 100 bytes */
export function tarHeader(name: string, bytes: number): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(BLOCK);
  const put = (at: number, text: string): void => block.set(new TextEncoder().encode(text), at);
  const octal = (value: number, digits: number): string => `${value.toString(8).padStart(digits, "0")}\0`;
  if (new TextEncoder().encode(name).length > 100 || bytes >= 8 ** 11)
    throw new CogwheelError("data", `a member of a tar may have a name of 100 bytes and 8 GiB, got ${name} of ${bytes} bytes; shorten it`);
  put(0, name);
  put(100, octal(0o644, 7));
  put(108, octal(0, 7));
  put(116, octal(0, 7));
  put(124, octal(bytes, 11));
  put(136, octal(0, 11)); // the time, which is nobody's business
  put(148, " ".repeat(8));
  put(156, "0");
  put(257, "ustar\x0000");
  put(
    148,
    `${block
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, "0")}\0 `,
  );
  return block;
}

/** Zeros that fill a member's last block. */
export const tarPadding = (bytes: number): Uint8Array<ArrayBuffer> => new Uint8Array((BLOCK - (bytes % BLOCK)) % BLOCK);

/** What stands at the end. */
export const tarEnd = (): Uint8Array<ArrayBuffer> => new Uint8Array(2 * BLOCK);
