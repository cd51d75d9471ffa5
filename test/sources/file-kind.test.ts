/** A file of another kind is named as what it is, with what to do, wherever a file is read. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { zipSync } from "fflate";
import { describe, expect, test } from "vitest";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.ts";
import { openSource } from "../../src/hub/open-node.ts";
import { fileKind } from "../../src/sources/file-kind.ts";
import { openSafetensors } from "../../src/files/safetensors.ts";
import { memorySource } from "../../src/sources/memory.ts";
import { readJson } from "../../src/sources/source.ts";
import { T5Tokenizer } from "../../src/text/t5-tokenizer.ts";
import { loadLora } from "../../src/pipelines/lora-file.ts";

const utf8 = (text: string) => new TextEncoder().encode(text);
const bytes = (...list: (number | string)[]) => Uint8Array.from(list.flatMap((one) => (typeof one === "number" ? [one] : [...utf8(one)])));
const POINTER = utf8(
  "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n",
);
const TORCH_ZIP = zipSync({ "pytorch_model/data.pkl": bytes(0x80, 2, "}q"), "pytorch_model/version": utf8("3\n") }, { level: 0 });
const GGUF = bytes("GGUF", 3, 0, 0, 0, ...new Array<number>(40).fill(0));

const KINDS: [string, Uint8Array, RegExp][] = [
  ["a git-lfs pointer", POINTER, /got a git-lfs pointer; run `git lfs pull`/],
  ["torch.save's zip", TORCH_ZIP, /got a PyTorch file .*; pickles run code .* convert it with Python \(safetensors\.torch\.save_file/],
  ["torch.save's old pickle", bytes(0x80, 2, 0x8a, 0x0a, "l\xfc\x9cF\xf9 j\xa8P\x19."), /got a Python pickle .*; pickles run code/],
  ["GGUF", GGUF, /got a GGUF file; give it in its component's place/],
  ["ONNX", bytes(8, 8, 0x12, 7, "pytorch", 0x1a, 3, "2.1"), /got an ONNX model; take the \.safetensors/],
  ["npz", zipSync({ "arr_0.npy": bytes(0x93, "NUMPY") }, { level: 0 }), /got a NumPy \.npz archive; save its arrays/],
  ["a zip", zipSync({ "readme.txt": utf8("hello") }), /got a zip archive; unpack it/],
  ["gzip", bytes(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3), /got a gzip file; unpack it/],
  ["HDF5", bytes(0x89, "HDF\r\n", 0x1a, "\n"), /got an HDF5 file/],
  ["a login page", utf8("\n<!doctype html>\n<html><title>Sign in</title>"), /got a web page; it is a page about the file/],
  ["a storage server's error", utf8('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'), /got an XML document/],
  ["nothing", new Uint8Array(0), /got an empty file; download it again/],
  ["zeros", new Uint8Array(4096), /got a file that starts with zeros; the download did not finish/],
];

describe.each(KINDS)("%s", (_, file, message) => {
  test("in place of weights", async () => {
    await expect(openSafetensors(memorySource({ "model.safetensors": file }), "model.safetensors")).rejects.toThrow(message);
  });
  test("in place of a config", async () => {
    await expect(readJson(memorySource({ "config.json": file }), "config.json")).rejects.toThrow(message);
  });
  test("in place of a tokenizer", async () => {
    await expect(T5Tokenizer.open(memorySource({ "tokenizer/spiece.model": file }))).rejects.toThrow(message);
  });
  test("in place of an adapter", async () => {
    await expect(loadLora(file)).rejects.toThrow(message);
  });
});

test("what is the right kind, or damaged, is judged by its own reader", () => {
  for (const file of [utf8('{"a": 1}'), bytes(16, 1, 2, 3, 4, 5), utf8("\n"), new Uint8Array(3)]) expect(fileKind(file)).toBeUndefined();
});

describe("in place of a checkpoint", () => {
  const config = {
    "model_index.json": JSON.stringify({ _class_name: "CogVideoXPipeline", transformer: ["diffusers", "CogVideoXTransformer3DModel"] }),
    "transformer/config.json": "{}",
  };
  test.each<[string, Uint8Array, RegExp]>([
    [
      "diffusion_pytorch_model.bin",
      TORCH_ZIP,
      /weights must be \.safetensors, got diffusion_pytorch_model\.bin, which is a Python pickle; convert it once in Python/,
    ],
    ["model.gguf", GGUF, /weights must be \.safetensors, got model\.gguf, a GGUF file; give it in its component's place/],
    ["mp_rank_00_model_states.pt", TORCH_ZIP, /got mp_rank_00_model_states\.pt, a PyTorch file .*; pickles run code/],
    ["model.ckpt", POINTER, /got model\.ckpt, a git-lfs pointer; run `git lfs pull`/],
    [
      "diffusion_pytorch_model.safetensors",
      POINTER,
      /diffusion_pytorch_model\.safetensors: must be a safetensors file, got a git-lfs pointer/,
    ],
  ])("%s", async (name, file, message) => {
    await expect(openCheckpoint(memorySource({ ...config, [`transformer/${name}`]: file }))).rejects.toThrow(message);
  });

  test("a file itself", async () => {
    const folder = await mkdtemp(join(tmpdir(), "cogwheel-kind-"));
    await writeFile(join(folder, "model.gguf"), GGUF);
    await expect(openSource(join(folder, "model.gguf"))).rejects.toThrow(
      /model\.gguf: a checkpoint must be a folder, got a GGUF file; pass the folder that holds model_index\.json \(of this file: give it in its component's place/,
    );
    await rm(folder, { recursive: true });
  });

  test("a tokenizer of another library", async () => {
    await expect(T5Tokenizer.open(memorySource({ "tokenizer/tokenizer.json": "{}" }))).rejects.toThrow(
      /tokenizer\/spiece\.model: must exist, got tokenizer\.json only, which is the same tokenizer for another library; take spiece\.model/,
    );
  });
});
