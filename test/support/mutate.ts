/** Damage to files, seeded: what a broken disk, an interrupted download or a stranger does to bytes, safetensors headers and JSON. */

/** Numbers from 0 to below 1, the same for the same seed (mulberry32). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class Mutator {
  readonly #next: () => number;
  constructor(seed: number) {
    this.#next = random(seed);
  }
  below(n: number): number {
    return Math.floor(this.#next() * n);
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  /** Flipped bits, overwritten, cut, doubled, inserted and removed bytes. */
  bytes(source: Uint8Array): Uint8Array {
    const out = Uint8Array.from(source);
    const at = this.below(out.length);
    switch (this.below(8)) {
      case 0:
        return out.subarray(0, at);
      case 1:
        return new Uint8Array(0);
      case 2:
        return join(out.subarray(0, at), out.subarray(Math.min(out.length, at + 1 + this.below(40))));
      case 3:
        return join(
          out.subarray(0, at),
          Uint8Array.from({ length: 1 + this.below(40) }, () => this.below(256)),
          out.subarray(at),
        );
      case 4:
        return out.fill(this.pick([0, 255, 0x20, 0x7b]), at, at + 1 + this.below(64));
      case 5:
        return join(out, out.subarray(0, at));
      default:
        for (let n = 1 + this.below(4); n > 0; n--) out[this.below(out.length)]! ^= 1 << this.below(8);
        return out;
    }
  }

  /** A GGUF file with a number of its header changed, or its bytes. */
  gguf(source: Uint8Array): Uint8Array {
    if (this.below(4) === 0) return this.bytes(source);
    const out = Uint8Array.from(source);
    const view = new DataView(out.buffer);
    // Counts, or the number after some text or other; tensors are behind a header of a few kilobytes.
    const starts = [
      8,
      16,
      ...[
        ...Buffer.from(out.subarray(0, 8192))
          .toString("latin1")
          .matchAll(/[a-z_]\.[a-z_]+(?=[^a-z._])/g),
      ].map((m) => m.index + m[0].length),
    ];
    const at = Math.min(out.length - 8, this.pick(starts) + this.pick([0, 0, 0, 4, 8, 12, 16, 20, 24]));
    const number = this.pick([
      0n,
      1n,
      2n,
      3n,
      7n,
      8n,
      9n,
      12n,
      20n,
      31n,
      33n,
      64n,
      255n,
      2n ** 20n,
      2n ** 31n,
      2n ** 32n - 1n,
      2n ** 53n,
      2n ** 63n,
      2n ** 64n - 1n,
    ]);
    if (this.below(2)) view.setBigUint64(at, number, true);
    else view.setUint32(at, Number(number & 0xffffffffn), true);
    return out;
  }

  /** A value that no file should hold there. */
  value(): unknown {
    return this.pick<unknown>([
      0,
      -1,
      1,
      3,
      0.5,
      7.25,
      1e9,
      2 ** 31,
      2 ** 32,
      2 ** 53,
      1e308,
      -1e308,
      5e-324,
      null,
      true,
      false,
      "",
      "7",
      "NaN",
      "F8_E4M3",
      "\u0000",
      "x".repeat(5000),
      [],
      [1],
      [[[[]]]],
      [-1, 2],
      [1e9, 1e9, 1e9],
      {},
      { a: 1 },
      deep(40),
    ]);
  }

  /** JSON text with one thing changed: a value anywhere, a key gone, new, renamed or twice, nesting without end, or bytes. */
  json(text: string): Uint8Array {
    const utf8 = (s: string) => new TextEncoder().encode(s);
    if (this.below(4) === 0) return this.bytes(utf8(text));
    if (this.below(12) === 0)
      return utf8(
        this.pick([
          "",
          "null",
          "[]",
          "3",
          '"x"',
          "{",
          `${"[".repeat(200_000)}`,
          `${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}`,
          `\ufeff${text}`,
          `${text}${text}`,
          text.replace("{", '{"num_layers":1,"num_layers":2,'),
          text.replace(/\d+/, "1e999"),
          text.replace(/\d+/, "NaN"),
        ]),
      );
    const root = JSON.parse(text) as unknown;
    const places: [Record<string, unknown>, string][] = [];
    const walk = (node: unknown): void => {
      if (typeof node !== "object" || node === null) return;
      for (const [key, value] of Object.entries(node)) {
        places.push([node as Record<string, unknown>, key]);
        walk(value);
      }
    };
    walk(root);
    const [owner, key] = this.pick(places);
    switch (this.below(6)) {
      case 0:
        delete owner[key];
        break;
      case 1:
        owner[this.pick(["__proto__", "constructor", "quantization_config", "new_key", ""])] = this.value();
        break;
      case 2:
        owner[`${key}_`] = owner[key];
        delete owner[key];
        break;
      case 3: {
        const number = owner[key];
        owner[key] = typeof number === "number" ? number * this.pick([2, 10, 0.5, -1, 1000]) + this.pick([0, 1]) : this.value();
        break;
      }
      default:
        owner[key] = this.value();
    }
    return utf8(JSON.stringify(root));
  }

  /** A safetensors file with its header changed as JSON, its length changed, or its bytes. */
  safetensors(source: Uint8Array): Uint8Array {
    const view = new DataView(source.buffer, source.byteOffset);
    const length = Number(view.getBigUint64(0, true));
    const [header, data] = [source.subarray(8, 8 + length), source.subarray(8 + length)];
    const wrap = (changed: Uint8Array): Uint8Array => {
      const prefix = new Uint8Array(8);
      new DataView(prefix.buffer).setBigUint64(0, BigInt(changed.length), true);
      return join(prefix, changed, data);
    };
    switch (this.below(5)) {
      case 0:
        return this.bytes(source);
      case 1: {
        const out = Uint8Array.from(source);
        new DataView(out.buffer).setBigUint64(
          0,
          this.pick([
            0n,
            1n,
            7n,
            BigInt(length - 1),
            BigInt(length + 1),
            BigInt(source.length),
            2n ** 31n,
            2n ** 53n,
            2n ** 63n,
            2n ** 64n - 1n,
          ]),
          true,
        );
        return out;
      }
      case 2: {
        // two tensors on the same bytes, or of exchanged places
        const json = JSON.parse(new TextDecoder().decode(header)) as Record<string, { data_offsets: number[]; shape: number[] }>;
        const names = Object.keys(json).filter((name) => name !== "__metadata__");
        const [a, b] = [this.pick(names), this.pick(names)];
        if (this.below(2)) json[a]!.data_offsets = json[b]!.data_offsets;
        else [json[a]!.shape, json[b]!.shape] = [json[b]!.shape, json[a]!.shape];
        return wrap(new TextEncoder().encode(JSON.stringify(json)));
      }
      default:
        return wrap(this.json(new TextDecoder().decode(header)));
    }
  }
}

function join(...parts: Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function deep(n: number): unknown {
  return n === 0 ? 1 : [deep(n - 1)];
}
