/**
 * QuickTime files from before `ftyp` begin with `wide`, `mdat` or `moov`. sniff.ts knows them by their boxes; mediabunny's demuxer
 * reads them too, but its formats ask for `ftyp` first, in a method that is the library's own: where it is called otherwise, such a
 * file is refused as before.
 */
import { QuickTimeInputFormat } from "mediabunny";

class OldQuickTimeInputFormat extends QuickTimeInputFormat {
  /** @param input with the reader of the file, of which the bytes in front are asked for */
  async _canReadInput(input: {
    _reader?: { requestSlice(start: number, length: number): Slice | null | Promise<Slice | null> };
  }): Promise<boolean> {
    const slice = await input._reader?.requestSlice(0, 8);
    return !!slice?.bytes && /^(wide|mdat|moov|free|skip|pnot)$/.test(String.fromCharCode(...slice.bytes.subarray(4, 8)));
  }
}

interface Slice {
  readonly bytes?: Uint8Array;
}

export const OLD_QUICKTIME = new OldQuickTimeInputFormat();
