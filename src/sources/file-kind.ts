/**
 * What a file is by its first bytes, for the message when something else was expected: a refusal
 * that says "a PyTorch pickle" can be acted on.
 */

export interface FileKind {
  /** With its article, such as `a git-lfs pointer`. */
  readonly name: string;
  /** What to do about it, an imperative. */
  readonly remedy: string;
}

/** As many bytes from the start of a file as are looked at. */
export const KIND_BYTES = 512;

export const REMEDY_OF_PICKLES =
  "pickles run code when they are read and are not supported: convert it with Python " +
  "(safetensors.torch.save_file(torch.load(path, weights_only=True), out)), or take the .safetensors file of the same repository";
const CONVERT = "take the .safetensors files of the original model";
const AGAIN = "download it again";

const KINDS: readonly (readonly [RegExp, FileKind])[] = [
  [/^version https:\/\/git-lfs/, { name: "a git-lfs pointer", remedy: "run `git lfs pull` in the clone, or download the file itself" }],
  [/^PK\x03\x04[^]*?\.npy/, { name: "a NumPy .npz archive", remedy: "save its arrays with safetensors.numpy.save_file" }],
  [
    /^PK\x03\x04[^]*?(?:\/|^)(?:data\.pkl|version|\.format_version|\.data\/|byteorder)/,
    { name: "a PyTorch file (.bin, .pt, .pth or .ckpt: a zip of pickles)", remedy: REMEDY_OF_PICKLES },
  ],
  [/^PK\x03\x04/, { name: "a zip archive", remedy: "unpack it" }],
  [/^\x80[\x02-\x05]/, { name: "a Python pickle (PyTorch's old .bin, .pt, .pth or .ckpt)", remedy: REMEDY_OF_PICKLES }],
  [/^GGUF/, { name: "a GGUF file", remedy: "give it in its component's place (--transformer, --text-encoder)" }],
  [/^GGML|^tjgg|^ggjt/, { name: "a GGML file of before GGUF", remedy: CONVERT }],
  [/^\x08[\x01-\x14](?:\x12|[\x1a\x3a])/, { name: "an ONNX model", remedy: CONVERT }],
  [/^\x93NUMPY/, { name: "a NumPy .npy array", remedy: "save it with safetensors.numpy.save_file" }],
  [/^\x89HDF\r\n/, { name: "an HDF5 file (Keras, TensorFlow)", remedy: CONVERT }],
  [/^.{4}TFL3/s, { name: "a TensorFlow Lite model", remedy: CONVERT }],
  [/^\x1f\x8b/, { name: "a gzip file", remedy: "unpack it" }],
  [/^\x28\xb5\x2f\xfd/, { name: "a zstd file", remedy: "unpack it" }],
  [/^7z\xbc\xaf\x27\x1c|^Rar!/, { name: "an archive", remedy: "unpack it" }],
  [/^[^]{257}ustar/, { name: "a tar archive", remedy: "unpack it" }],
  [
    /^(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head|body)/i,
    { name: "a web page", remedy: "it is a page about the file, of a login or of an error: download the file itself" },
  ],
  [/^(?:\xef\xbb\xbf)?\s*<\?xml/, { name: "an XML document, perhaps a storage server's error", remedy: AGAIN }],
  [/^\x89PNG|^\xff\xd8\xff|^GIF8|^RIFF/, { name: "a picture or film", remedy: "check which file goes where" }],
  [/^%PDF/, { name: "a PDF", remedy: "check which file goes where" }],
];
const SAFETENSORS: FileKind = { name: "a safetensors file", remedy: "check which file goes where" };
const EMPTY: FileKind = { name: "an empty file", remedy: AGAIN };
const ZEROS: FileKind = { name: "a file that starts with zeros", remedy: `the download did not finish: ${AGAIN}` };

/**
 * Names what bytes are, where they are something that is known; not the kind that was expected, which its own reader judges.
 * @param bytes the first `KIND_BYTES` of a file, or all
 */
export function fileKind(bytes: Uint8Array): FileKind | undefined {
  if (bytes.length === 0) return EMPTY;
  const head = bytes.subarray(0, KIND_BYTES);
  const text = String.fromCharCode(...head);
  const kind = KINDS.find(([pattern]) => pattern.test(text))?.[1];
  if (kind) return kind;
  if (/^[^]{6}\0\0\{/.test(text)) return SAFETENSORS;
  return head.length >= 16 && head.every((byte) => byte === 0) ? ZEROS : undefined;
}

/**
 * The rule, got and remedy of a file that is another kind than it should be; undefined where nothing is known of it,
 * or where it is a damaged one of its own kind.
 */
export function kindRule(bytes: Uint8Array, expected: string): string | undefined {
  const kind = fileKind(bytes);
  return kind === undefined || kind.name === expected ? undefined : `must be ${expected}, got ${kind.name}; ${kind.remedy}`;
}
