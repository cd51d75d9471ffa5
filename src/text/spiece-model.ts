/**
 * What a `spiece.model` file says: a protobuf of pieces with scores, and how text is normalised before they are
 * matched. Field numbers and defaults are those of sentencepiece_model.proto.
 */
import { PbfReader } from "pbf";
import { CogwheelError } from "../base/errors.ts";
import { kindRule } from "../sources/file-kind.ts";

/** What a piece is, by its number in the file. */
export const PieceType = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** One entry of the vocabulary; its id is its place in the list. */
export interface Piece {
  /** UTF-8, with U+2581 for a space. */
  bytes: Uint8Array;
  /** Log probability, float32. */
  score: number;
  /** A value of {@link PieceType}. */
  type: number;
}

/** The parts of the file that encoding needs. */
export interface SpieceModel {
  pieces: Piece[];
  /** From the trainer's settings. */
  treatWhitespaceAsSuffix: boolean;
  byteFallback: boolean;
  unkPiece: string;
  eosPiece: string;
  padPiece: string;
  /** The normaliser's rules: a trie of byte sequences and their replacements; empty for none. */
  charsmap: Uint8Array;
  addDummyPrefix: boolean;
  removeExtraWhitespaces: boolean;
  escapeWhitespaces: boolean;
}

// Models come from strangers, so what one may make of a text is bounded by what it holds. The largest of T5's kind have 256,000 pieces
// of up to 16 characters, 2 MB in all.
const MAX_FILE = 64 * 1024 * 1024;
const MAX_PIECES = 2 ** 19;
/** Bytes of a piece. */
const MAX_PIECE = 1024;
/** Bytes of all pieces: each is at most one place of a trie. */
const MAX_PIECES_BYTES = 2 ** 22;
/** Bytes of the normaliser's table; NFKC's takes 240 KB. */
const MAX_CHARSMAP = 2 ** 24;
/** Bytes of a name in the trainer's settings. */
const MAX_NAME = 1024;

const KIND = "a SentencePiece model";
const VARINT = 0;
const BYTES = 2;
const FIXED32 = 5;
const UNIGRAM = 1;
const MODEL_TYPES = new Map([
  [1, "UNIGRAM"],
  [2, "BPE"],
  [3, "WORD"],
  [4, "CHAR"],
]);

/**
 * Reads and checks a model file. Throws when it is not one, when it is not a Unigram model, or when SentencePiece
 * itself would refuse its vocabulary.
 *
 * @param file what messages call it
 */
export function readSpieceModel(bytes: Uint8Array, file = "spiece.model"): SpieceModel {
  const fail = (rule: string, cause?: unknown): CogwheelError =>
    new CogwheelError("checkpoint", `${file}: ${rule}`, cause === undefined ? undefined : { cause });
  const model: SpieceModel = {
    pieces: [],
    treatWhitespaceAsSuffix: false,
    byteFallback: false,
    unkPiece: "<unk>",
    eosPiece: "</s>",
    padPiece: "<pad>",
    charsmap: new Uint8Array(0),
    addDummyPrefix: true,
    removeExtraWhitespaces: true,
    escapeWhitespaces: true,
  };
  let modelType = UNIGRAM;
  let piecesBytes = 0;
  const most = (what: string, limit: number, got: number): void => {
    if (got > limit)
      throw fail(
        `${what} at most ${limit}, got ${got > limit + 1 ? got : "more"}; ` +
          "this is not the tokenizer of a T5, or it was made to break its reader: use the one that belongs to the checkpoint",
      );
  };
  const name = (pbf: PbfReader): string => {
    const utf8 = blob(pbf);
    most("the bytes of a piece's name must be", MAX_NAME, utf8.length);
    return pieceText(utf8);
  };
  most("the bytes of the file must be", MAX_FILE, bytes.length);
  try {
    message(new PbfReader(bytes), bytes.length, {
      1: [
        BYTES,
        (pbf) => {
          const piece: Piece = { bytes: new Uint8Array(0), score: 0, type: PieceType.normal };
          message(pbf, submessage(pbf), {
            1: [
              BYTES,
              () => {
                piece.bytes = blob(pbf);
                most(`the bytes of piece ${model.pieces.length} must be`, MAX_PIECE, piece.bytes.length);
                most("the bytes of all pieces must be", MAX_PIECES_BYTES, (piecesBytes += piece.bytes.length));
              },
            ],
            2: [
              FIXED32,
              () => {
                piece.score = pbf.readFloat();
              },
            ],
            3: [
              VARINT,
              () => {
                piece.type = pbf.readVarint();
              },
            ],
          });
          most("the number of pieces must be", MAX_PIECES, model.pieces.push(piece));
        },
      ],
      2: [
        BYTES,
        (pbf) =>
          message(pbf, submessage(pbf), {
            3: [
              VARINT,
              () => {
                modelType = pbf.readVarint();
              },
            ],
            24: [
              VARINT,
              () => {
                model.treatWhitespaceAsSuffix = pbf.readBoolean();
              },
            ],
            35: [
              VARINT,
              () => {
                model.byteFallback = pbf.readBoolean();
              },
            ],
            // An empty name means the default, as it does to SentencePiece.
            45: [
              BYTES,
              () => {
                model.unkPiece = name(pbf) || "<unk>";
              },
            ],
            47: [
              BYTES,
              () => {
                model.eosPiece = name(pbf) || "</s>";
              },
            ],
            48: [
              BYTES,
              () => {
                model.padPiece = name(pbf) || "<pad>";
              },
            ],
          }),
      ],
      3: [
        BYTES,
        (pbf) =>
          message(pbf, submessage(pbf), {
            2: [
              BYTES,
              () => {
                model.charsmap = blob(pbf);
                most("the bytes of precompiled_charsmap must be", MAX_CHARSMAP, model.charsmap.length);
              },
            ],
            3: [
              VARINT,
              () => {
                model.addDummyPrefix = pbf.readBoolean();
              },
            ],
            4: [
              VARINT,
              () => {
                model.removeExtraWhitespaces = pbf.readBoolean();
              },
            ],
            5: [
              VARINT,
              () => {
                model.escapeWhitespaces = pbf.readBoolean();
              },
            ],
          }),
      ],
    });
  } catch (cause) {
    if (cause instanceof CogwheelError) throw cause;
    throw fail(
      kindRule(bytes, KIND) ??
        `must be a SentencePiece model, got ${bytes.length} bytes that are not (${(cause as Error).message}); download it again`,
      cause,
    );
  }
  if (model.pieces.length === 0) throw fail(kindRule(bytes, KIND) ?? "the vocabulary must hold pieces, got none; download the file again");
  if (modelType !== UNIGRAM) {
    throw fail(
      `model_type must be UNIGRAM, got ${MODEL_TYPES.get(modelType) ?? modelType}; use the tokenizer that belongs to a T5 text encoder`,
    );
  }
  checkPieces(model, fail);
  return model;
}

type Field = [wireType: number, read: (pbf: PbfReader) => void];

/** Reads the fields of one message that ends at `end`; unknown ones are skipped, as protobuf wants. */
function message(pbf: PbfReader, end: number, fields: Record<number, Field>): void {
  let tag: number;
  while ((tag = pbf.nextField(end)) !== 0) {
    const field = fields[tag];
    if (!field) continue; // the next call skips it
    if (pbf.type !== field[0]) throw new Error(`field ${tag} has wire type ${pbf.type} instead of ${field[0]}`);
    field[1](pbf);
    if (pbf.pos > end) break;
  }
  if (pbf.pos !== end) throw new Error(`a message ends at byte ${end}, its fields at ${pbf.pos}`);
}

function submessage(pbf: PbfReader): number {
  const length = pbf.readVarint();
  const end = pbf.pos + length;
  if (!(end <= pbf.length)) throw new Error(`a field of ${length} bytes at byte ${pbf.pos} goes past the end`);
  return end;
}

function blob(pbf: PbfReader): Uint8Array {
  const end = submessage(pbf);
  const bytes = pbf.buf.subarray(pbf.pos, end);
  pbf.pos = end;
  return bytes;
}

/** The rules by which SentencePiece itself refuses a vocabulary. */
function checkPieces(model: SpieceModel, fail: (rule: string) => CogwheelError): void {
  const again = "download the file again or train the model anew";
  const seen = new Map<string, number>();
  let unknown = -1;
  let ordinary = 0;
  const bytePieces = new Set<number>();
  model.pieces.forEach(({ bytes, score, type }, id) => {
    const name = pieceText(bytes);
    const shown = JSON.stringify(name.slice(0, 60));
    if (bytes.length === 0) throw fail(`a piece must not be empty, got an empty piece ${id}; ${again}`);
    if (!Number.isFinite(score)) throw fail(`a piece's score must be finite, got ${score} for piece ${id} (${shown}); ${again}`);
    const reserved = type === PieceType.unknown || type === PieceType.control || type === PieceType.byte;
    // SentencePiece keeps reserved and ordinary pieces apart: one name may be in both.
    const key = (reserved ? "r" : "n") + String.fromCharCode(...bytes);
    const before = seen.get(key);
    if (before !== undefined) throw fail(`a piece must stand once in the vocabulary, got ${shown} as ${before} and ${id}; ${again}`);
    seen.set(key, id);
    if (!reserved && type !== PieceType.userDefined && type !== PieceType.unused) ordinary++;
    if (type === PieceType.unknown) {
      if (unknown >= 0) throw fail(`one piece must be the unknown one, got ${unknown} and ${id}; ${again}`);
      unknown = id;
    }
    if (type === PieceType.byte) {
      const byte = byteOfPiece(name);
      if (!model.byteFallback) throw fail(`byte pieces need byte_fallback, got ${shown} without it; ${again}`);
      if (byte === null) throw fail(`a byte piece must be named <0x00> to <0xFF>, got ${shown}; ${again}`);
      bytePieces.add(byte);
    }
  });
  if (unknown < 0) throw fail(`one of the pieces must be the unknown one, got none among ${model.pieces.length}; ${again}`);
  if (ordinary === 0) throw fail(`the vocabulary must hold ordinary pieces, got none among ${model.pieces.length}; ${again}`);
  if (model.byteFallback && bytePieces.size < 256) throw fail(`byte_fallback needs 256 byte pieces, got ${bytePieces.size}; ${again}`);
}

/** A piece's bytes as text, for names and messages. */
export function pieceText(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

/** The byte that a byte piece stands for (`<0x41>` → 65), or null. */
export function byteOfPiece(name: string): number | null {
  const hex = /^<0x([0-9A-F]{2})>$/.exec(name)?.[1];
  return hex === undefined ? null : Number.parseInt(hex, 16);
}
