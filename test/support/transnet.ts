/** TransNet V2 with few filters and drawn weights, those of its reference case, as a file that commands take. */
import { readFileSync } from "node:fs";
import { openSafetensors, writeSafetensors } from "../../src/files/safetensors.ts";
import { memorySource } from "../../src/sources/memory.ts";

const CASE = new Uint8Array(readFileSync("test/reference/cases/TransNetV2/f1_s2.safetensors"));

/** @param keeps which weights, by name. Default: all */
export async function smallTransNet(keeps: (name: string) => boolean = () => true): Promise<Uint8Array<ArrayBuffer>> {
  const file = await openSafetensors(memorySource({ case: CASE }, "case"), "case");
  const names = [...file.tensors.keys()].filter((key) => key.startsWith("weight.") && keeps(key.slice(7)));
  const tensors = await Promise.all(
    names.map(async (key) => {
      const { bytes, dtype, shape } = await file.read(key);
      return [key.slice(7), { data: bytes, dtype, shape }] as const;
    }),
  );
  return writeSafetensors(new Map(tensors));
}
