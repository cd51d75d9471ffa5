// Parts of kernels: WGSL that several kernels have, kept once in kernels/shared/*.wgsl. A kernel that has one holds its text between two
// markers, so that every kernel is valid WGSL as it stands and reads whole:
//
//   //! part shared/silu.wgsl
//   fn silu(v: vec4<f32>) -> vec4<f32> { … }
//   //! part ends
//
// `node build.mjs --parts` writes that text; every build, and test/kernels/parts.test.ts, refuse a kernel whose text is another.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const BEGIN = /^( *)\/\/! part (shared\/\S+)$/;
const END = /^ *\/\/! part ends$/;
const ANY = /^ *\/\/! part\b/;

/**
 * @param folder of the kernels
 * @returns {Map<string, string[]>} the lines of every part, by the name that markers have. The comment that a part begins with, up to
 *   the first empty line, is for its readers and goes into no kernel.
 */
export function readParts(folder = "kernels") {
  const names = readdirSync(join(folder, "shared")).sort();
  return new Map(
    names.map((name) => {
      const text = readFileSync(join(folder, "shared", name), "utf8");
      const header = /^(\/\/.*\n)+\n/.exec(text)?.[0];
      if (!header || !/^\/\/ Expects {3}\S/m.test(header))
        throw new Error(
          `${join(folder, "shared", name)}: must begin with a comment that has a line \`// Expects   …\`, then an empty line`,
        );
      if (text.split("\n").some((line) => ANY.test(line)))
        throw new Error(`${join(folder, "shared", name)}: a part must have no part in it`);
      return [`shared/${name}`, text.slice(header.length).trimEnd().split("\n")];
    }),
  );
}

/** The parts of a kernel: where each stands, and what stands there now. */
function* places(path, lines, parts) {
  for (let i = 0; i < lines.length; i++) {
    if (!ANY.test(lines[i])) continue;
    const [, indent, name] = BEGIN.exec(lines[i]) ?? [];
    if (name === undefined)
      throw new Error(
        `${path}:${i + 1}: a marker must be \`//! part shared/….wgsl\` or the \`//! part ends\` of one, got "${lines[i].trim()}"`,
      );
    const part = parts.get(name);
    if (!part) throw new Error(`${path}:${i + 1}: a part must be one of ${[...parts.keys()].join(", ")}, got ${name}`);
    const end = lines.findIndex((line, at) => at > i && ANY.test(line));
    if (end < 0 || !END.test(lines[end]))
      throw new Error(`${path}:${i + 1}: \`//! part ${name}\` must have its \`//! part ends\` below, got none`);
    yield { name, line: i + 1, end, text: part.map((line) => (line ? indent + line : "")) };
    i = end;
  }
}

/** A kernel's text with every part as it stands in kernels/shared/, indented as its marker is. */
export function withParts(path, source, parts) {
  const lines = source.split("\n");
  const out = [];
  let from = 0;
  for (const { line, end, text } of places(path, lines, parts)) {
    out.push(...lines.slice(from, line), ...text);
    from = end;
  }
  return [...out, ...lines.slice(from)].join("\n");
}

/** Refuses a kernel in which a part has another text than in kernels/shared/. */
export function checkParts(path, source, parts) {
  const lines = source.split("\n");
  for (const { name, line, end, text } of places(path, lines, parts))
    if (lines.slice(line, end).join("\n") !== text.join("\n"))
      throw new Error(
        `${path}:${line}: what stands below \`//! part ${name}\` must be the text of kernels/${name}, got another; ` +
          `make the change in that file and run \`node build.mjs --parts\`, which writes it into every kernel`,
      );
}
