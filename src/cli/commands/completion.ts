/** `cogwheel completion`: a script for the user's shell. */
import { Argument } from "commander";
import { defineCommand, type CliCommand } from "../command.ts";
import { completionScript, SHELLS, type Shell } from "../completion.ts";
import { writeOut } from "../terminal/output.ts";

/** @param all the commands that are completed */
export const completion = (all: () => readonly CliCommand[]): CliCommand =>
  defineCommand<[Shell]>({
    name: "completion",
    help: "print what bash, zsh or fish reads to complete commands and options",
    printsResult: true,
    declare: (command) => command.addArgument(new Argument(`<${SHELLS.join("|")}>`, "the shell").choices(SHELLS)),
    async run([shell]) {
      writeOut(completionScript(shell, all()));
      return undefined;
    },
  });
