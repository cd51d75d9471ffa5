/** Where a file lies that a user names: by a path, or by an address. */

/** Names of files rather than folders; what a file is not by its bytes is refused by what it is. */
const FILE_NAME =
  /\.(?:safetensors|sft|gguf|bin|pt|pth|ckpt|pkl|pickle|onnx|npz|npy|h5|msgpack|zip|tar|gz|json|txt|jpe?g|png|gif|webp|mp4|webm|mov|mkv)$/i;

/**
 * The folder that a file lies in, and its name there; no name where the text names a folder. The query of
 * an address stays with it: a signature is one.
 */
export function placeOf(text: string): { folder: string; file?: string } {
  const isAddress = /^[a-z][a-z\d+.-]+:/i.test(text);
  // What is no whole address is a path, in which ? and # are letters, unless it can be none of a file.
  const end = isAddress || !FILE_NAME.test(text) ? text.search(/[?#]|$/) : text.length;
  const path = text.slice(0, end);
  if (!FILE_NAME.test(path)) return { folder: text };
  const cut = Math.max(path.lastIndexOf("/"), isAddress ? -1 : path.lastIndexOf("\\")) + 1;
  return { folder: (path.slice(0, cut) || "./") + text.slice(end), file: isAddress ? decoded(path.slice(cut)) : path.slice(cut) };
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
