/** The command line: runs the command that was asked for, and prints what went wrong. Each command is a file in commands/. */
import { inspect } from "node:util";
import { Command, CommanderError } from "commander";
import { CogwheelError } from "../base/errors.ts";
import { shortenedLines } from "../base/visible.ts";
import { systemComplaint } from "../platform/system-error.ts";
import { addCommands, type CliCommand } from "./command.ts";
import { COMMANDS } from "./commands/index.ts";
import { exitCodeOf } from "./exit-code.ts";
import { refuseLateCommand, refuseMistypedCommand } from "./meant-command.ts";
import { packageInfo } from "./package-root.ts";
import { Interrupted } from "./terminal/interrupt.ts";
import { asCalled, called } from "./terminal/called.ts";
import { codeAfterOutput, complain, drained, guardOutput, leave, writeOut } from "./terminal/output.ts";

guardOutput();
const { version, description } = packageInfo();
const program = new Command(called())
  .description(description)
  .version(version)
  .showHelpAfterError("(--help lists the options)")
  .enablePositionalOptions()
  .exitOverride()
  .configureOutput({ writeOut, writeErr: (text) => void process.stderr.write(shortenedLines(asCalled(text))) });

const given = process.argv.slice(2);
const names = COMMANDS.map((command) => command.name);
let chosen: CliCommand | undefined;
addCommands(program, COMMANDS, (command, words) => {
  chosen = command;
  refuseLateCommand(given, words, names);
});

try {
  refuseMistypedCommand(given, names);
  await program.parseAsync();
} catch (error) {
  process.exitCode = exitCodeOf(error);
  const [, unknown] = (error instanceof CommanderError && /unknown option '([^']+)'/.exec(error.message)) || [];
  const command = process.argv[2] ?? "";
  if (unknown !== undefined && (command === "generate" || !program.commands.some((one) => one.name() === command))) {
    const { meantOption } = await import("./meant-option.ts");
    const meant = meantOption(unknown);
    if (meant !== undefined) complain(`What other programs call ${unknown}: ${meant}`);
  }
  // Of the two, commander has said what it had to, and a stop was told when it was asked for.
  if (!(error instanceof Interrupted || error instanceof CommanderError)) {
    for (const one of error instanceof AggregateError ? error.errors : [error])
      complain(one instanceof CogwheelError ? one.message : (systemComplaint(one) ?? shortenedLines(inspect(one))));
  }
}
await drained();
// Dawn keeps the process alive, so it is ended here.
leave(codeAfterOutput(Number(process.exitCode ?? 0), chosen?.printsResult ?? false));
