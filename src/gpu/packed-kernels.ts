/** Kernels of a browser build, which are deflated together (kernel-packs.mjs); a kernel's text and declarations are found when asked for. */
import { inflateSync } from "fflate";
import type { Kernel } from "./kernel.ts";

/** Kernels that are inflated together. */
export interface KernelPack {
  /** Texts of parts, of kernels, and the kernels' declarations as JSON, deflated, in base64. */
  readonly data: string;
  /** How many texts are parts, which kernels have by number. */
  readonly parts: number;
  readonly kernels: number;
  /** What the declarations of a kernel may have. */
  readonly declared: readonly string[];
}

/** A function that gives the kernels of a pack, by their place in it. */
export function unpacker(pack: KernelPack): <K extends Kernel<never>>(index: number) => K {
  const { parts, kernels, declared } = pack;
  let texts: readonly string[] | undefined;
  const textAt = (index: number): string =>
    (texts ??= new TextDecoder().decode(inflateSync(Uint8Array.from(atob(pack.data), (c) => c.charCodeAt(0)))).split("\0"))[index]!;
  return <K extends Kernel<never>>(index: number): K => {
    const kernel = {};
    let known: Record<string, unknown> | undefined;
    const declarations = () => (known ??= JSON.parse(textAt(parts + kernels + index)) as Record<string, unknown>);
    for (const key of declared) Object.defineProperty(kernel, key, { get: () => declarations()[key], enumerable: true });
    const source = () => textAt(parts + index).replace(/\x01(\d+)\x01/g, (_, part) => textAt(Number(part)));
    return Object.defineProperty(kernel, "source", { get: source, enumerable: true }) as K;
  };
}
