/**
 * ONNX models written from code: a graph is nodes over names, a file is the protobuf of onnx.proto (numbers of its fields
 * below), weights in a second file beside it.
 */
import { writeFileSync } from "node:fs";
import { basename } from "node:path";
import { PbfWriter } from "pbf";

export type Attribute = number | string | readonly number[] | { float: number };

interface OnnxNode {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
  readonly domain: string;
}
interface Initializer {
  readonly shape: readonly number[];
  readonly data: Float32Array | BigInt64Array;
}

/** From this size on an initializer lies in the file beside the model; shapes and axes must be in the model itself. */
const EXTERNAL_BYTES = 1024;
const FLOAT = 1,
  INT64 = 7;

export class OnnxModel {
  readonly nodes: OnnxNode[] = [];
  readonly #initializers = new Map<string, Initializer>();
  readonly #inputs: { name: string; shape: readonly number[] }[] = [];
  readonly #outputs: { name: string; shape: readonly number[] }[] = [];
  #count = 0;

  input(name: string, shape: readonly number[]): string {
    this.#inputs.push({ name, shape });
    return name;
  }
  output(name: string, shape: readonly number[]): void {
    this.#outputs.push({ name, shape });
  }
  /** Weights, in f32. */
  weight(name: string, shape: readonly number[], data: Float32Array): string {
    this.#initializers.set(name, { shape, data });
    return name;
  }
  /** A shape, axes, starts or ends, in int64. */
  ints(values: readonly number[]): string {
    const name = `ints_${values.join("_")}`;
    this.#initializers.set(name, { shape: [values.length], data: BigInt64Array.from(values, BigInt) });
    return name;
  }
  /** A node with one output, whose name it returns. */
  node(op: string, inputs: readonly string[], attributes: Record<string, Attribute> = {}, domain = ""): string {
    const output = `${op}_${this.#count++}`;
    this.nodes.push({ op, inputs, outputs: [output], attributes, domain });
    return output;
  }
  /** Split into equal parts along an axis. */
  split(input: string, parts: number, axis: number): string[] {
    const base = `Split_${this.#count++}`;
    const names = Array.from({ length: parts }, (_, i) => `${base}_${i}`);
    this.nodes.push({ op: "Split", inputs: [input], outputs: names, attributes: { axis, num_outputs: parts }, domain: "" });
    return names;
  }

  /** Writes `path` and `path.data`. */
  write(path: string): void {
    const parts: Uint8Array[] = [];
    let at = 0;
    const external = new Map<string, { offset: number; length: number }>();
    for (const [name, { data }] of this.#initializers) {
      if (data.byteLength < EXTERNAL_BYTES) continue;
      external.set(name, { offset: at, length: data.byteLength });
      parts.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      at += data.byteLength;
    }
    writeFileSync(`${path}.data`, new Uint8Array());
    for (const part of parts) writeFileSync(`${path}.data`, part, { flag: "a" });

    const pbf = new PbfWriter();
    pbf.writeVarintField(1, 10); // ir_version
    pbf.writeStringField(2, "cogwheel bench");
    pbf.writeMessage(
      7,
      (_, g) => {
        for (const node of this.nodes) g.writeMessage(1, writeNode, node);
        g.writeStringField(2, "bench");
        for (const [name, init] of this.#initializers)
          g.writeMessage(5, (_, t) => writeTensor(t, name, init, external.get(name), `${basename(path)}.data`), null);
        for (const value of this.#inputs) g.writeMessage(11, writeValue, value);
        for (const value of this.#outputs) g.writeMessage(12, writeValue, value);
      },
      null,
    );
    for (const [domain, version] of [
      ["", 21],
      ["com.microsoft", 1],
    ] as const) {
      pbf.writeMessage(
        8,
        (_, o) => {
          o.writeStringField(1, domain);
          o.writeVarintField(2, version);
        },
        null,
      );
    }
    writeFileSync(path, pbf.finish());
  }
}

function writeNode(node: OnnxNode, pbf: PbfWriter): void {
  for (const name of node.inputs) pbf.writeStringField(1, name);
  for (const name of node.outputs) pbf.writeStringField(2, name);
  pbf.writeStringField(3, node.outputs[0]!);
  pbf.writeStringField(4, node.op);
  for (const [name, value] of Object.entries(node.attributes)) {
    pbf.writeMessage(
      5,
      (_, a) => {
        a.writeStringField(1, name);
        if (typeof value === "number") {
          a.writeVarintField(3, value);
          a.writeVarintField(20, 2);
        } else if (typeof value === "string") {
          a.writeBytesField(4, new TextEncoder().encode(value));
          a.writeVarintField(20, 3);
        } else if ("float" in value) {
          a.writeFloatField(2, value.float);
          a.writeVarintField(20, 1);
        } else {
          for (const v of value) a.writeVarintField(8, v);
          a.writeVarintField(20, 7);
        }
      },
      null,
    );
  }
  if (node.domain) pbf.writeStringField(7, node.domain);
}

function writeTensor(
  pbf: PbfWriter,
  name: string,
  { shape, data }: Initializer,
  external: { offset: number; length: number } | undefined,
  file: string,
): void {
  for (const n of shape) pbf.writeVarintField(1, n);
  pbf.writeVarintField(2, data instanceof Float32Array ? FLOAT : INT64);
  pbf.writeStringField(8, name);
  if (!external) {
    pbf.writeBytesField(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    return;
  }
  for (const [key, value] of Object.entries({ location: file, offset: `${external.offset}`, length: `${external.length}` })) {
    pbf.writeMessage(
      13,
      (_, e) => {
        e.writeStringField(1, key);
        e.writeStringField(2, value);
      },
      null,
    );
  }
  pbf.writeVarintField(14, 1);
}

function writeValue({ name, shape }: { name: string; shape: readonly number[] }, pbf: PbfWriter): void {
  pbf.writeStringField(1, name);
  pbf.writeMessage(
    2,
    (_, type) =>
      type.writeMessage(
        1,
        (_, tensor) => {
          tensor.writeVarintField(1, FLOAT);
          tensor.writeMessage(
            2,
            (_, s) => {
              for (const n of shape) s.writeMessage(1, (_, d) => d.writeVarintField(1, n), null);
            },
            null,
          );
        },
        null,
      ),
    null,
  );
}
