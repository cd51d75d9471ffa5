/** Files that are read, and codecs, in Node. */
import { readdir, stat } from "node:fs/promises";
import { CogwheelError } from "../base/errors.ts";
import { settleFolder } from "./output-folder-node.ts";

export async function listFolder(path: string): Promise<string[] | undefined> {
  const isFolder = async (): Promise<boolean | undefined> => (await stat(path).catch(() => undefined))?.isDirectory();
  // A file is nobody's half of a folder: what lies beside it is left alone.
  if ((await isFolder()) === false) return undefined;
  await settleFolder(path);
  return (await isFolder()) ? (await readdir(path)).sort() : undefined;
}

/** WebCodecs for Node: the classes of `@napi-rs/webcodecs`, loaded when first needed, and only where there are none. */
export async function installWebCodecs(): Promise<"package"> {
  const scope = globalThis as unknown as Record<string, unknown>;
  if (scope["VideoEncoder"] && scope["VideoDecoder"] && scope["VideoFrame"]) return "package";
  let codecs: Record<string, unknown>;
  try {
    codecs = (await import("@napi-rs/webcodecs")) as unknown as Record<string, unknown>;
  } catch (error) {
    throw new CogwheelError(
      "video",
      `MP4 and WebM need the package @napi-rs/webcodecs, got ${(error as Error).message}; ` +
        `run \`npm i @napi-rs/webcodecs@1.3.1\`, or write gif or png`,
      { cause: error },
    );
  }
  for (const name of ["VideoEncoder", "VideoDecoder", "VideoFrame", "VideoColorSpace", "EncodedVideoChunk"]) scope[name] ??= codecs[name];
  return "package";
}
