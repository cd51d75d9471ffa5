/** T5's tokenizer: SentencePiece with the marks and the length that T5 wants. */
import { isObject } from "../base/json-scan.ts";
import { CogwheelError } from "../base/errors.ts";
import { SentencePiece } from "./sentencepiece.ts";
import { readAll, readJson } from "../sources/source.ts";
import type { CheckpointSource } from "../sources/source.ts";

/** The ids of one text, ready for the T5 encoder. */
export interface TokenIds {
  /** `maxLength` ids: the text's, the end mark, then padding. */
  ids: Int32Array;
  /** How many of them are not padding; the end mark counts. */
  length: number;
  /** The end of the text that did not fit, as it was written, or null when all did. */
  cut: string | null;
}

/** Options of {@link T5Tokenizer}. */
export interface T5TokenizerOptions {
  /** The end mark's piece; what the model names, `</s>` unless told. */
  eosToken?: string;
  /** The padding's piece; what the model names, `<pad>` unless told. */
  padToken?: string;
  /** What messages call the model file; `spiece.model` unless told. */
  file?: string;
}

/**
 * T5's tokenizer: SentencePiece's own ids, then the end mark, cut and padded to a length. Marks that are written in the
 * text (`</s>`, `<extra_id_0>`) are plain text, as they are to SentencePiece.
 */
export class T5Tokenizer {
  /** The encoder itself, for ids without marks and padding. */
  readonly sentencePiece: SentencePiece;
  /** The id that ends a text; 1 in the published checkpoints. */
  readonly eosId: number;
  /** The id that fills up; 0 in the published checkpoints. */
  readonly padId: number;

  /** @param model the bytes of `spiece.model` */
  constructor(model: Uint8Array, options: T5TokenizerOptions = {}) {
    const file = options.file ?? "spiece.model";
    this.sentencePiece = new SentencePiece(model, file);
    const id = (role: string, name: string): number => {
      const found = this.sentencePiece.pieceId(name);
      if (found === null) {
        throw new CogwheelError(
          "checkpoint",
          `${file}: the ${role} must be one of the model's pieces, got ${JSON.stringify(name.slice(0, 60))} that is none ` +
            `of its ${this.sentencePiece.vocabularySize}; use the spiece.model that belongs to tokenizer_config.json`,
        );
      }
      return found;
    };
    this.eosId = id("end mark", options.eosToken ?? this.sentencePiece.model.eosPiece);
    this.padId = id("padding", options.padToken ?? this.sentencePiece.model.padPiece);
  }

  /** Opens `spiece.model`, and `tokenizer_config.json` where there is one, in a checkpoint's tokenizer folder. */
  static async open(source: CheckpointSource, folder = "tokenizer"): Promise<T5Tokenizer> {
    const file = `${folder}/spiece.model`;
    const configFile = `${folder}/tokenizer_config.json`;
    if (!(await source.exists(file)) && (await source.exists(`${folder}/tokenizer.json`))) {
      throw new CogwheelError(
        "checkpoint",
        `${file}: must exist, got tokenizer.json only, which is the same tokenizer for another library; ` +
          `take spiece.model from the repository of the text encoder (in ${source.label})`,
      );
    }
    const config = (await source.exists(configFile)) ? await readJson(source, configFile) : {};
    const token = (key: string): string | undefined => {
      const value = config[key];
      const content = isObject(value) ? value["content"] : value; // old configs hold an AddedToken here
      if (content === undefined || content === null) return undefined;
      if (typeof content === "string") return content;
      throw new CogwheelError(
        "checkpoint",
        `${configFile}: ${key} must be a string, got ${JSON.stringify(value).slice(0, 60)}; correct the file`,
      );
    };
    return new T5Tokenizer(await readAll(source, file), {
      eosToken: token("eos_token"),
      padToken: token("pad_token"),
      file,
    });
  }

  /**
   * The ids of `text` in exactly `maxLength` places. A text that is too long loses its end, never the end mark;
   * `cut` says what was lost.
   */
  encode(text: string, maxLength: number): TokenIds {
    if (!Number.isInteger(maxLength) || maxLength < 1) {
      throw new CogwheelError(
        "checkpoint",
        `T5Tokenizer: maxLength must be a whole number from 1, got ${maxLength}; take as many as the model that reads the text does`,
      );
    }
    const input = new TextEncoder().encode(text);
    const { ids: all, starts } = this.sentencePiece.encode(input);
    const kept = Math.min(all.length, maxLength - 1);
    const ids = new Int32Array(maxLength).fill(this.padId);
    ids.set(all.slice(0, kept));
    ids[kept] = this.eosId;
    const cut = kept < all.length ? new TextDecoder().decode(input.subarray(starts[kept]!)) : null;
    return { ids, length: kept + 1, cut };
  }
}
