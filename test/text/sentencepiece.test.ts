import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { PbfWriter } from "pbf";
import { describe, expect, test } from "vitest";
import { SentencePiece } from "../../src/text/sentencepiece.ts";
import { memorySource } from "../../src/sources/memory.ts";
import { T5Tokenizer } from "../../src/text/t5-tokenizer.ts";

interface Fixture {
  name: string;
  version: string;
  texts: string[];
  ids: number[][];
  model: Uint8Array;
}

// Fixtures of another folder can be compared instead; make_sentencepiece.py says how to write a long list.
const FOLDER = process.env["COGWHEEL_SENTENCEPIECE"] ?? fileURLToPath(new URL("fixtures", import.meta.url));

const fixtures = readdirSync(FOLDER)
  .filter((file) => /^sentencepiece-.*\.gz$/.test(file))
  .map((file): Fixture => {
    const bytes = gunzipSync(readFileSync(join(FOLDER, file)));
    const line = bytes.indexOf(10);
    return { ...JSON.parse(bytes.toString("utf8", 0, line)), model: new Uint8Array(bytes.subarray(line + 1)) };
  });

test("there are fixtures", () => {
  expect(fixtures.length).toBeGreaterThanOrEqual(7);
});

for (const { name, version, texts, ids, model } of fixtures) {
  test(`${name}: the ids of ${texts.length} texts are SentencePiece ${version}'s`, () => {
    const encoder = new SentencePiece(model, name);
    const wrong: string[] = [];
    texts.forEach((text, i) => {
      const bytes = new Uint8Array(Buffer.from(text, "base64"));
      const got = encoder.encode(bytes).ids;
      if (got.join() === ids[i]!.join()) return;
      const piece = (id: number): string => new TextDecoder().decode(encoder.model.pieces[id]!.bytes);
      wrong.push(
        `${JSON.stringify(Buffer.from(bytes).toString())} (${Buffer.from(bytes).toString("hex")})\n` +
          `  got  ${got.join(" ")} | ${got.map(piece).join(" ")}\n  want ${ids[i]!.join(" ")} | ${ids[i]!.map(piece).join(" ")}`,
      );
    });
    expect(wrong.length, `${wrong.length} texts differ:\n${wrong.slice(0, 5).join("\n")}`).toBe(0);
  });
}

const t5 = fixtures.find(({ name }) => name === "nmt_nfkc")!;

describe("T5Tokenizer", () => {
  const tokenizer = new T5Tokenizer(t5.model);

  test("ends with the end mark and pads", () => {
    const text = "a red circle moving left";
    const own = tokenizer.sentencePiece.encode(text).ids;
    const { ids, length, cut } = tokenizer.encode(text, 40);
    expect(own.length).toBeLessThan(39);
    expect([...ids]).toEqual([...own, 1, ...new Array<number>(39 - own.length).fill(0)]);
    expect(length).toBe(own.length + 1);
    expect(cut).toBeNull();
  });

  test("an empty prompt is the end mark alone", () => {
    for (const text of ["", "   ", "\n\t"]) {
      expect([...tokenizer.encode(text, 4).ids]).toEqual([1, 0, 0, 0]);
      expect(tokenizer.encode(text, 4).length).toBe(1);
    }
  });

  test("cuts a long prompt, keeps the end mark and says what was cut", () => {
    const text = "A ﬁne  café, 🐼 and\tthen the camera pans left over a mountain lake at sunset";
    const own = tokenizer.sentencePiece.encode(text).ids;
    for (let length = 1; length <= own.length; length++) {
      const { ids, cut } = tokenizer.encode(text, length);
      expect([...ids]).toEqual([...own.slice(0, length - 1), 1]);
      expect(text.endsWith(cut!), `the cut ${JSON.stringify(cut)} at ${length}`).toBe(true);
    }
    expect(tokenizer.encode(text, own.length + 1).cut).toBeNull();
    expect(tokenizer.encode(text, 1).cut).toBe(text);
    expect(tokenizer.encode("red red red", 1 + tokenizer.sentencePiece.encode("red").ids.length).cut).toBe(" red red");
  });

  test("a lone surrogate is read as U+FFFD", () => {
    expect(tokenizer.encode("a\ud800b", 9)).toEqual(tokenizer.encode("a\ufffdb", 9));
  });

  test("opens from a checkpoint, with or without tokenizer_config.json", async () => {
    const model = { "tokenizer/spiece.model": t5.model };
    expect((await T5Tokenizer.open(memorySource(model))).eosId).toBe(1);
    const config = { eos_token: { __type: "AddedToken", content: "<pad>" }, pad_token: "<unk>" };
    const opened = await T5Tokenizer.open(memorySource({ ...model, "tokenizer/tokenizer_config.json": JSON.stringify(config) }));
    expect([opened.eosId, opened.padId]).toEqual([0, 2]);
    await expect(T5Tokenizer.open(memorySource({}))).rejects.toThrow(
      "[checkpoint] tokenizer/spiece.model: must exist, got no such file; check the folder",
    );
    await expect(T5Tokenizer.open(memorySource({ ...model, "tokenizer/tokenizer_config.json": '{"pad_token":"[PAD]"}' }))).rejects.toThrow(
      '[checkpoint] tokenizer/spiece.model: the padding must be one of the model\'s pieces, got "[PAD]" that is none of its 330; ' +
        "use the spiece.model that belongs to tokenizer_config.json",
    );
    await expect(T5Tokenizer.open(memorySource({ ...model, "tokenizer/tokenizer_config.json": '{"eos_token":7}' }))).rejects.toThrow(
      "[checkpoint] tokenizer/tokenizer_config.json: eos_token must be a string, got 7; correct the file",
    );
  });

  test("refuses a length that has no room for the end mark", () => {
    expect(() => tokenizer.encode("a", 0)).toThrow(
      "[checkpoint] T5Tokenizer: maxLength must be a whole number from 1, got 0; take as many as the model that reads the text does",
    );
  });
});

describe("bad model files", () => {
  interface PieceSpec {
    piece: string;
    score?: number;
    type?: number;
  }
  const UNK: PieceSpec = { piece: "<unk>", type: 2 };

  function build(pieces: PieceSpec[], trainer: Record<number, number> = {}, charsmap?: Uint8Array): Uint8Array {
    const pbf = new PbfWriter();
    for (const { piece, score = 0, type } of pieces) {
      pbf.writeMessage(
        1,
        (_, inner) => {
          inner.writeStringField(1, piece);
          inner.writeFloatField(2, score);
          if (type !== undefined) inner.writeVarintField(3, type);
        },
        null,
      );
    }
    pbf.writeMessage(
      2,
      (_, inner) => {
        for (const [field, value] of Object.entries(trainer)) inner.writeVarintField(Number(field), value);
      },
      null,
    );
    if (charsmap) pbf.writeMessage(3, (_, inner) => inner.writeBytesField(2, charsmap), null);
    return pbf.finish();
  }
  const open = (bytes: Uint8Array): SentencePiece => new SentencePiece(bytes, "tokenizer/spiece.model");
  const PLACE = "[checkpoint] tokenizer/spiece.model: ";

  test("a small model that is right opens", () => {
    expect(open(build([UNK, { piece: "▁a", score: -1 }])).encode("a").ids).toEqual([1]);
  });

  test("every truncation is refused or leaves whole fields", () => {
    const whole = build([UNK, { piece: "▁a", score: -1 }, { piece: "▁b", score: -1 }], { 3: 1 });
    for (let length = 0; length < whole.length; length++) {
      try {
        expect(open(whole.slice(0, length)).vocabularySize).toBeGreaterThan(1); // a cut between fields is a model too
      } catch (error) {
        expect((error as Error).message).toMatch(/^\[checkpoint\] tokenizer\/spiece\.model: .*, got .*; /);
      }
    }
  });

  /** A table of one rule, "a" → `to`, in a trie as darts-clone lays it out; `cycle` makes "a" lead back to where it came from. */
  function rule(to: string, cycle = false): Uint8Array {
    const units = new Uint32Array(512);
    const at = "a".charCodeAt(0);
    units[0] = 256 << 10; // children at 256 xor byte
    const node = 256 ^ at;
    // Its own children at node xor offset; a value is the unit there.
    units[node] = cycle ? at | (at << 10) | (1 << 8) : at | (1 << 8) | ((node ^ 1) << 10);
    units[cycle ? 256 : 1] = 0;
    const text = new TextEncoder().encode(`${to}\0`);
    const out = new Uint8Array(4 + units.byteLength + text.length);
    new DataView(out.buffer).setUint32(0, units.byteLength, true);
    out.set(new Uint8Array(units.buffer), 4);
    out.set(text, 4 + units.byteLength);
    return out;
  }

  test("a rule that gives much is used up to a bound, above it refused before any memory is taken", () => {
    const small = open(build([UNK, { piece: "▁" }, { piece: "b" }], {}, rule("b".repeat(256))));
    expect(small.encode("aa").ids).toEqual([1, ...new Array<number>(512).fill(2)]);
    const big = open(build([UNK, { piece: "▁" }, { piece: "b" }], {}, rule("b".repeat(1_000_000))));
    const before = process.memoryUsage().rss;
    for (const text of ["a", "a".repeat(100), "xa"])
      expect(() => big.encode(text)).toThrow(
        `${PLACE}precompiled_charsmap must be a trie and its replacements, ` +
          "got a rule that gives more than 256 bytes; download the file again",
      );
    expect(big.encode("x").ids).toEqual([1, 0]);
    expect(process.memoryUsage().rss - before).toBeLessThan(200e6);
    expect(() => small.encode("a".repeat(20_000))).toThrow(
      "[checkpoint] a text may have at most 2097152 bytes, before and after it is normalised, got more; shorten it",
    );
    expect(() => small.encode("b".repeat(3_000_000))).toThrow(
      "a text may have at most 2097152 bytes, before and after it is normalised, got 3000000; shorten it",
    );
  });

  test("a trie that goes in a circle is refused", () => {
    const circle = open(build([UNK, { piece: "▁" }, { piece: "b" }], {}, rule("b", true)));
    expect(() => circle.encode("a".repeat(100_000))).toThrow("got a rule for more than 256 bytes;");
  });

  test("pieces and their number are bounded", () => {
    expect(open(build([UNK, { piece: "x".repeat(1024) }])).encode("a").ids).toEqual([0]);
    expect(() => open(build([UNK, { piece: "x".repeat(18_000_000) }]))).toThrow(
      `${PLACE}the bytes of piece 1 must be at most 1024, got 18000000; this is not the tokenizer of a T5`,
    );
    const long = Array.from({ length: 4150 }, (_, i) => ({ piece: `${i}${"x".repeat(1018)}`.slice(0, 1020) }));
    expect(() => open(build([UNK, ...long]))).toThrow("the bytes of all pieces must be at most 4194304, got");
    // Two bytes a field, half a million fields: pieces without a name.
    const empty = Uint8Array.from({ length: 2 ** 20 + 2 }, (_, i) => (i % 2 ? 0 : 10));
    expect(() => open(empty)).toThrow("the number of pieces must be at most 524288, got more;");
    expect(() => open(new Uint8Array(65 * 2 ** 20))).toThrow("the bytes of the file must be at most 67108864, got 68157440;");
    expect(() => open(build([UNK, { piece: "▁a" }], {}, new Uint8Array(2 ** 24 + 1)))).toThrow(
      "the bytes of precompiled_charsmap must be at most 16777216, got more;",
    );
  });

  test("a text that would be compared with long pieces for minutes is refused", () => {
    const greedy = open(build([UNK, ...Array.from({ length: 1000 }, (_, i) => ({ piece: "x".repeat(i + 1) }))]));
    expect(greedy.encode("x".repeat(5000)).ids.length).toBeGreaterThan(1);
    expect(() => greedy.encode("x".repeat(100_000))).toThrow(
      `${PLACE}a text may have at most 67108 bytes with a vocabulary whose longest piece has 1000, got 100000; shorten the text`,
    );
  });

  test.each<[string, Uint8Array, string]>([
    ["text", new TextEncoder().encode("once upon a time, all"), "must be a SentencePiece model, got 21 bytes that are not"],
    [
      "BPE",
      build([UNK, { piece: "a" }], { 3: 2 }),
      "model_type must be UNIGRAM, got BPE; use the tokenizer that belongs to a T5 text encoder",
    ],
    ["an unknown model type", build([UNK, { piece: "a" }], { 3: 9 }), "model_type must be UNIGRAM, got 9;"],
    ["empty", new Uint8Array(0), "must be a SentencePiece model, got an empty file;"],
    ["no unknown piece", build([{ piece: "a" }]), "one of the pieces must be the unknown one, got none among 1;"],
    ["two unknown pieces", build([UNK, { piece: "u", type: 2 }]), "one piece must be the unknown one, got 0 and 1;"],
    ["an empty piece", build([UNK, { piece: "" }]), "a piece must not be empty, got an empty piece 1;"],
    ["a piece twice", build([UNK, { piece: "a" }, { piece: "a" }]), 'a piece must stand once in the vocabulary, got "a" as 1 and 2;'],
    ["no ordinary piece", build([UNK, { piece: "a", type: 4 }]), "the vocabulary must hold ordinary pieces, got none among 2;"],
    ["a score that is no number", build([UNK, { piece: "a", score: NaN }]), 'a piece\'s score must be finite, got NaN for piece 1 ("a");'],
    [
      "byte pieces without byte_fallback",
      build([UNK, { piece: "a" }, { piece: "<0x00>", type: 6 }]),
      'byte pieces need byte_fallback, got "<0x00>" without it;',
    ],
    [
      "a misnamed byte piece",
      build([UNK, { piece: "a" }, { piece: "<0xGG>", type: 6 }], { 35: 1 }),
      'a byte piece must be named <0x00> to <0xFF>, got "<0xGG>";',
    ],
    [
      "too few byte pieces",
      build([UNK, { piece: "a" }, { piece: "<0x00>", type: 6 }], { 35: 1 }),
      "byte_fallback needs 256 byte pieces, got 1;",
    ],
    [
      "a short charsmap",
      build([UNK, { piece: "a" }], {}, new Uint8Array([1, 2])),
      "precompiled_charsmap must be a trie and its replacements, got a trie of 0 bytes in 2;",
    ],
    [
      "a charsmap whose trie is too long",
      build([UNK, { piece: "a" }], {}, new Uint8Array([200, 0, 0, 0, 1, 1, 1, 1, 0])),
      "got a trie of 200 bytes in 9;",
    ],
  ])("%s is refused", (_, bytes, message) => {
    expect(() => open(bytes)).toThrow(
      PLACE + (message.startsWith("got") ? "precompiled_charsmap must be a trie and its replacements, " + message : message),
    );
  });

  test("a charsmap that points outside itself is refused at its use", () => {
    const charsmap = new Uint8Array(4 + 4 + 1);
    new DataView(charsmap.buffer).setUint32(0, 4, true);
    new DataView(charsmap.buffer).setUint32(4, 1 << 20, true); // children far away
    expect(() => open(build([UNK, { piece: "a" }], {}, charsmap)).encode("a")).toThrow(
      PLACE + "precompiled_charsmap must be a trie and its replacements, got a trie that points at unit 1121 of 1; download the file again",
    );
  });
});
