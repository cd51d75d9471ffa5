/**
 * A kernel from WGSL text at run time, for ops that an app adds. The engine's own kernels are read by the build, with a real parser
 * (build.mjs); this reads the declarations of the same conventions (docs/add-a-kernel.md), and a test holds the two against each other.
 */
import { CogwheelError } from "../base/errors.ts";
import type { Access, BindingInfo, Kernel, KernelShape, ParamField, ScalarType } from "./kernel.ts";

/**
 * A kernel from WGSL text, at run time. Throws `CogwheelError` for what its declarations lack.
 * @param name what errors, labels and profiles call it
 * @param source WGSL that is valid as it stands, with one entry point `main`
 */
export function defineKernel<S extends KernelShape = KernelShape>(name: string, source: string): Kernel<S> {
  const fail = (rule: string): never => {
    throw new CogwheelError("kernel", `${name}: ${rule}; see docs/add-a-kernel.md`);
  };
  const code = source
    .replace(/\/\*[\s\S]*?\*\//g, "")
    .split("\n")
    .map((line) => (line.startsWith("//!") ? line : line.replace(/\s*\/\/.*$/, "")))
    .join("\n");
  const blocks = [...code.matchAll(/^\/\/! specialise\n([\s\S]*?)^\/\/! end/gm)].map(([, lines]) => lines!);
  const block = blocks.length ? blocks.join("") : fail("the text must have a `//! specialise … //! end` block, got none");
  const entries = [...code.matchAll(/@compute[\s\S]*?\bfn\s+(\w+)/g)].map(([, entry]) => entry);
  if (entries.length !== 1 || entries[0] !== "main")
    fail(`there must be one compute entry point, main, got ${entries.join(", ") || "none"}`);

  const bindings: Record<string, BindingInfo> = {};
  for (const [, group, binding, access, variable, type] of code.matchAll(
    /@group\((\d+)\)\s*@binding\((\d+)\)\s*var<storage(?:\s*,\s*(\w+))?>\s*(\w+)\s*:\s*([^;]+);/g,
  )) {
    if (group !== "0" || binding === "0")
      fail(`bindings must be in group 0 and not at 0, which is for params, got @group(${group}) @binding(${binding}) for ${variable}`);
    bindings[variable!] = { binding: Number(binding), access: (access ?? "read") as Access, type: type!.trim() };
  }
  const uniforms = [...code.matchAll(/var<uniform>\s*(\w+)\s*:\s*(\w+)/g)];
  const uniform = uniforms.find(([, variable]) => variable === "params");
  if (uniforms.length > (uniform ? 1 : 0))
    fail(`the only uniform must be params, got ${uniforms.map(([, variable]) => variable).join(", ")}`);
  if (uniform && !/var<uniform> params\b/.test(block))
    fail("params must be declared inside the block, as `@group(0) @binding(0) var<uniform> params: …;`");
  const params: Record<string, ParamField> = {};
  if (uniform) {
    const struct =
      new RegExp(`struct\\s+${uniform[2]}\\s*\\{([^}]*)\\}`).exec(code)?.[1] ??
      fail(`params must be of a struct that the text declares, got ${uniform[2]}`);
    for (const [i, field] of struct
      .split(",")
      .map((part) => part.trim())
      .filter(Boolean)
      .entries()) {
      const [, key, type] = /^(\w+)\s*:\s*(u32|i32|f32)$/.exec(field) ?? fail(`fields of params must be u32, i32 or f32, got ${field}`);
      params[key!] = { type: type as ParamField["type"], offset: 4 * i };
    }
  }
  const types: Record<string, ScalarType> = {};
  const consts: Record<string, number> = {};
  for (const line of block.split("\n")) {
    const alias = /^alias (\w+) = (f32|f16|u32|i32);/.exec(line);
    if (alias) types[alias[1]!] = alias[2] as ScalarType;
    const constant = /^const (\w+)(?:: *\w+)? = (-?[\d.]+(?:u|i|f)?|true|false);/.exec(line);
    if (constant) consts[constant[1]!] = constant[2] === "true" ? 1 : constant[2] === "false" ? 0 : parseFloat(constant[2]!);
  }
  const overrides: Record<string, number> = {};
  for (const [, key, value] of code.matchAll(/^override (\w+)[^=;]*= *(\d+)u?;/gm)) overrides[key!] = Number(value);
  const enables = [...code.matchAll(/^enable ([^;]+);/gm)].flatMap(([, list]) => list!.split(",").map((one) => one.trim()));
  return {
    name,
    family: "app",
    source: code,
    bindings,
    params,
    paramBytes: 4 * Object.keys(params).length,
    consts,
    types,
    overrides,
    enables,
  } as unknown as Kernel<S>;
}
