/**
 * A kernel is a `.wgsl` file that is valid as it stands. `build.mjs` turns each into a typed {@link Kernel};
 * this file turns a kernel and its parameters into WGSL source for one pipeline.
 *
 * WGSL has three kinds of parameters, and so do the kernels:
 *  1. `//! specialise … //! end` blocks: element types (`alias`), register tiles and switches (`const`), and the
 *     address space of the variable `params`. An `override` cannot size a private array or name a type, so these
 *     are replaced in the text, line by line, by name;
 *  2. `override`: workgroup sizes, given when the pipeline is created;
 *  3. `params`: the shapes of one dispatch, as immediates or, where the browser has none, as a uniform.
 */
import { CogwheelError } from "../base/errors.ts";

/** The element types that a kernel's `alias` may be given. */
export type ScalarType = "f32" | "f16" | "u32" | "i32";
export type Access = "read" | "read_write";

export interface BindingInfo {
  readonly binding: number;
  readonly access: Access;
  /** The type as declared, e.g. `array<vec4<A>>`. */
  readonly type: string;
}

export interface ParamField {
  readonly type: "u32" | "i32" | "f32";
  /** Byte offset in the parameter struct. */
  readonly offset: number;
}

/** What a kernel asks of its caller, as literal types: a missing or misnamed binding is a compile error. */
export interface KernelShape {
  bindings: string;
  params: string;
  consts: string;
  types: string;
  overrides: string;
}

/** A WGSL kernel as data: its code, and the bindings, parameters and constants that its declarations name. */
export interface Kernel<S extends KernelShape = KernelShape> {
  readonly name: string;
  readonly family: string;
  readonly source: string;
  readonly bindings: { readonly [K in S["bindings"]]: BindingInfo };
  readonly params: { readonly [K in S["params"]]: ParamField };
  readonly paramBytes: number;
  readonly consts: { readonly [K in S["consts"]]: number };
  readonly types: { readonly [K in S["types"]]: ScalarType };
  readonly overrides: { readonly [K in S["overrides"]]: number };
  /** WGSL extensions that the file itself enables. */
  readonly enables: readonly string[];
}

/** The constants that two kernels of an op both declare: those of the part that all of its kernels have (kernels/shared/). */
export type SharedConst<A extends Kernel, B extends Kernel> = Extract<keyof A["consts"], keyof B["consts"]>;

export interface Specialisation {
  readonly consts?: Readonly<Record<string, number | undefined>>;
  readonly types?: Readonly<Record<string, ScalarType | undefined>>;
  readonly overrides?: Readonly<Record<string, number | undefined>>;
}

/** Immediates are limited to 64 bytes by every implementation so far. */
export const MAX_IMMEDIATE_BYTES = 64;

/**
 * The name of a specialised kernel: cache key, pipeline label and profiler row at once,
 * e.g. `matmul_tiled A=f16 BM=64 BN=64`. Only what departs from the file's defaults is spelled.
 */
export function kernelLabel(kernel: Kernel, spec: Specialisation): string {
  const parts = [kernel.name];
  const add = (
    given: Readonly<Record<string, number | string | undefined>> | undefined,
    defaults: Readonly<Record<string, number | string>>,
  ) => {
    for (const key of Object.keys(given ?? {}).sort()) {
      if (!(key in defaults)) {
        throw new CogwheelError(
          kernel.name,
          `parameters of a kernel must be declared in its file, got "${key}"; declared are ${Object.keys(defaults).join(", ") || "none"}`,
        );
      }
      if (given![key] !== undefined && given![key] !== defaults[key]) parts.push(`${key}=${given![key]}`);
    }
  };
  add(spec.types, kernel.types);
  add(spec.consts, kernel.consts);
  add(spec.overrides, kernel.overrides);
  return parts.join(" ");
}

/** WGSL text of `kernel` with the values of `spec`; with `immediates`, `params` moves out of the bind group. */
export function specialise(kernel: Kernel, spec: Specialisation, immediates: boolean): string {
  const types = { ...kernel.types, ...defined(spec.types) };
  const consts = { ...kernel.consts, ...defined(spec.consts) };
  const head: string[] = [];
  if (Object.values(types).includes("f16") && !kernel.enables.includes("f16")) head.push("enable f16;");
  const useImmediates = immediates && kernel.paramBytes > 0 && kernel.paramBytes <= MAX_IMMEDIATE_BYTES;
  if (useImmediates) head.push("requires immediate_address_space;");

  const lines = kernel.source.split("\n");
  let inBlock = false;
  for (const [i, line] of lines.entries()) {
    if (line.startsWith("//! ")) inBlock = line.startsWith("//! specialise");
    if (!inBlock) continue;
    const alias = /^alias (\w+) = (\w+);/.exec(line);
    if (alias) lines[i] = `alias ${alias[1]} = ${types[alias[1]!]};`;
    const constant = /^const (\w+)(: *(\w+))? = /.exec(line);
    if (constant && constant[1]! in consts)
      lines[i] = `const ${constant[1]}${constant[2] ?? ""} = ${literal(consts[constant[1]!]!, constant[3])};`;
    if (useImmediates && /var<uniform> params\b/.test(line)) lines[i] = "var<immediate> params: Params;";
  }
  // Directives must come before everything else in a module; `enable` lines of the file are already at its top.
  return [...head, ...lines].join("\n");
}

/** The entries that were given. */
export function defined<T>(record: Readonly<Record<string, T | undefined>> | undefined): Record<string, T> {
  return Object.fromEntries(Object.entries(record ?? {}).filter(([, v]) => v !== undefined)) as Record<string, T>;
}

function literal(value: number, type: string | undefined): string {
  if (type === "f32") return Number.isInteger(value) ? `${value}.0` : `${value}`;
  if (type === "bool") return value ? "true" : "false";
  return type === "i32" ? `${value}i` : `${value}u`;
}

/** Does this dispatch carry its parameters as immediates (else in a uniform at binding 0)? */
export function usesImmediates(kernel: Kernel, immediates: boolean): boolean {
  return immediates && kernel.paramBytes > 0 && kernel.paramBytes <= MAX_IMMEDIATE_BYTES;
}

/** Parameter values in the struct's layout. Every field must be given, by its own name. */
export function packParams(kernel: Kernel, values: Readonly<Record<string, number>>): ArrayBuffer {
  const bytes = new DataView(new ArrayBuffer(kernel.paramBytes));
  const fields = kernel.params as Record<string, ParamField>;
  for (const [name, field] of Object.entries(fields)) {
    const value = values[name];
    if (value === undefined)
      throw new CogwheelError(kernel.name, `every parameter must be given, got none for "${name}"; add it to params`);
    if (field.type === "f32") bytes.setFloat32(field.offset, value, true);
    else if (field.type === "i32") bytes.setInt32(field.offset, value, true);
    else {
      if (!Number.isInteger(value) || value < 0 || value > 0xffffffff) {
        throw new CogwheelError(
          kernel.name,
          `parameter "${name}" must be an unsigned 32-bit integer, got ${value}; split the work into windows`,
        );
      }
      bytes.setUint32(field.offset, value, true);
    }
  }
  for (const name of Object.keys(values)) {
    if (!(name in fields))
      throw new CogwheelError(
        kernel.name,
        `parameters must be declared in the kernel, got "${name}"; declared are ${Object.keys(fields).join(", ")}`,
      );
  }
  return bytes.buffer as ArrayBuffer;
}
