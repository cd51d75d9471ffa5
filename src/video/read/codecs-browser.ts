/**
 * The decoders of JPEG and WebP for the worker that reads untrusted media in a browser: the page compiles them and sends them, so that
 * the worker's file is small, holds no address that bundlers would have to follow, and needs no permission of its own to compile.
 */
import type { CodecName } from "./wasm-codec.ts";

/** What the worker asks its page for. */
export interface CodecRequest {
  type: "codec";
  name: CodecName;
}

/** What the page answers: a compiled module, or why there is none. */
export interface CodecAnswer {
  codec: CodecName;
  module?: WebAssembly.Module;
  error?: string;
}

const waiting = new Map<CodecName, (answer: CodecAnswer) => void>();

export async function compileCodec(name: CodecName): Promise<WebAssembly.Module> {
  const answer = await new Promise<CodecAnswer>((resolve) => {
    waiting.set(name, resolve);
    self.postMessage({ type: "codec", name } satisfies CodecRequest);
  });
  if (answer.module) return answer.module;
  throw new Error(answer.error ?? "none");
}

/** Takes the page's answer. */
export function takeCodec(answer: CodecAnswer): void {
  waiting.get(answer.codec)?.(answer);
  waiting.delete(answer.codec);
}
