/** Options of `generate` as a JSON object: what a line of a batch and a config file hold. */
import { Command } from "commander";
import { nearestName } from "../../base/near-name.ts";
import { CogwheelError } from "../../base/errors.ts";
import { isObject } from "../../base/json-scan.ts";

/** What was read: the words of a prompt, and the values of options by the names that commander keeps them under. */
export interface ObjectOptions {
  readonly prompt: string | undefined;
  readonly options: Readonly<Record<string, unknown>>;
}

/**
 * Reads options as the command line does, so that they are checked and told of alike: `{"prompt": "a circle", "steps": 8, "size": "64x64"}`
 * is `--steps 8 --size 64x64 "a circle"`. `true` gives a flag that takes nothing, `false` its `--no-` form, a list gives it several times.
 * @param declare what declares the command's options @param where the object stands, for messages @param not options that may not be there
 */
export function readObject(
  value: unknown,
  declare: (command: Command) => unknown,
  { where, not = [] }: { where: string; not?: readonly string[] },
): ObjectOptions {
  if (!isObject(value))
    throw refused(where, `must be an object of options, got ${JSON.stringify(value)?.slice(0, 80)}; write {"prompt": "…"}`);
  const command = new Command().exitOverride().configureOutput({ writeErr: () => undefined });
  declare(command);
  const { prompt, ...rest } = value as Record<string, unknown>;
  if (prompt !== undefined && typeof prompt !== "string") throw refused(where, `prompt must be a text, got ${JSON.stringify(prompt)}`);
  const args = Object.entries(rest).flatMap(([name, given]) => {
    const found = command.options.filter((option) => option.attributeName() === name);
    if (!found.length || not.includes(name)) {
      const names = command.options.map((option) => option.attributeName()).filter((one) => !not.includes(one));
      const near = nearestName(name, names);
      const why = not.includes(name)
        ? `cannot hold ${name}, which is of the whole command`
        : `must hold options of generate, got "${name}"`;
      throw refused(where, `${why}${near ? `; the nearest is ${near}` : "; `cogwheel generate --help` lists them"}`);
    }
    // A list of numbers is one value, of others each is one.
    const each: readonly unknown[] = !Array.isArray(given)
      ? [given]
      : given.every((one) => typeof one === "number")
        ? [given.join(",")]
        : given;
    return each.map((one) => {
      const option = found.find(({ negate }) => negate === (one === false)) ?? found[0]!;
      if (typeof one === "boolean") {
        if (option.required || option.negate === one) throw refused(where, `${name} takes a value, got ${one}`);
        return option.long!;
      }
      if (typeof one !== "string" && typeof one !== "number")
        throw refused(where, `${name} must be a text or a number, got ${JSON.stringify(one)}`);
      return `${option.long!}=${String(one)}`;
    });
  });
  try {
    command.parse(args, { from: "user" });
  } catch (error) {
    throw refused(where, (error as Error).message.replace(/^error: /, ""), error);
  }
  const parsed = command.opts<Record<string, unknown>>();
  const given = Object.entries(parsed).filter(([name]) => command.getOptionValueSource(name) === "cli");
  return { prompt, options: Object.fromEntries(given) };
}

const refused = (where: string, rule: string, cause?: unknown): CogwheelError => new CogwheelError("cli", `${where}: ${rule}`, { cause });
