/** What a command is. Each is a file in commands/, which imports nothing of the engine: help and version must not wait for it. */
import type { Command } from "commander";
import { CogwheelError } from "../base/errors.ts";
import { nearestName } from "../base/near-name.ts";

export interface CliCommand {
  readonly name: string;
  /** What it does, in a line of the help. */
  readonly help: string;
  /** The command that words without a command's name are for. */
  readonly isDefault?: boolean;
  /** Its result is what it prints, not a file: a reader that goes away before the end is told by the exit code. */
  readonly printsResult?: boolean;
  /** Commands below this one (`vae encode`, `train vae`), which are asked for before its own arguments. */
  readonly commands?: readonly CliCommand[];
  /** Declares its arguments and options. */
  declare?(command: Command): unknown;
  /** The work, with what was declared; it loads what it needs. Resolves to the exit code; nothing is 0. */
  run?(args: readonly unknown[], options: object): Promise<number | undefined>;
}

/** A command whose arguments and options have types, as its `declare` makes them. */
export interface TypedCommand<Arguments extends readonly unknown[], Options extends object = object> extends Omit<CliCommand, "run"> {
  declare(command: Command): unknown;
  run(args: Arguments, options: Options): Promise<number | undefined>;
}

export function defineCommand<Arguments extends readonly unknown[], Options extends object = object>(
  command: TypedCommand<Arguments, Options>,
): CliCommand {
  return { ...command, run: (args, options) => command.run(args as unknown as Arguments, options as Options) };
}

/** Adds commands to commander's; `onRun` hears which one was chosen, and with which words. */
export function addCommands(
  to: Command,
  commands: readonly CliCommand[],
  onRun: (command: CliCommand, words: readonly string[]) => void,
): void {
  for (const one of commands) {
    const added = to.command(one.name, { isDefault: one.isDefault ?? false }).description(one.help);
    one.declare?.(added);
    // Words for a default that takes none are a sibling's name, mistyped.
    const mistyped = (one.isDefault ?? false) && to.parent !== null && added.registeredArguments.length === 0;
    if (mistyped) added.allowExcessArguments();
    addCommands(added, one.commands ?? [], onRun);
    const { run } = one;
    if (!run) continue;
    added.action(async () => {
      if (mistyped && added.args.length) refuseUnknown(added.args[0]!, to);
      onRun(one, added.args);
      const code = await run(added.processedArgs, added.opts());
      if (code !== undefined) process.exitCode = code;
    });
  }
}

function refuseUnknown(word: string, group: Command): never {
  const names = group.commands.map((command) => command.name());
  const near = nearestName(word, names);
  throw new CogwheelError(
    "cli",
    `a command of ${group.name()} must be ${names.join(", ")}, got ${JSON.stringify(word)}` +
      `; ${near ? `the nearest is ${near}` : "--help says what each does"}`,
  );
}
