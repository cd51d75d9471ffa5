/** `cogwheel completion`: what a shell completes, made of the commands and options as they are declared. */
import { Command, type Option } from "commander";
import { addCommands, type CliCommand } from "./command.ts";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

/** A command by its words, such as `models pull`; the first, "", is the program itself. */
interface Level {
  readonly words: string;
  readonly commands: readonly Command[];
  readonly options: readonly Option[];
}

function levelsOf(command: Command, words = ""): Level[] {
  const { commands } = command;
  const below = commands.flatMap((one) => levelsOf(one, `${words} ${one.name()}`.trim()));
  return [{ words, commands, options: command.options.filter(({ hidden }) => !hidden) }, ...below];
}

const flagsOf = ({ short, long }: Option): string[] => [short, long].filter((flag) => flag !== undefined);
/** Its value is a path, as far as the flag says so: shells complete these by themselves. */
const takesValue = ({ required, optional }: Option): boolean => required || optional;

/** The script that a shell reads. Words without a command are `generate`'s. */
export function completionScript(shell: Shell, all: readonly CliCommand[]): string {
  const program = new Command("cogwheel");
  addCommands(program, all, () => undefined);
  const [root, ...others] = levelsOf(program);
  const usual = others.find(({ words }) => words === "generate")!;
  const levels = [{ ...root!, options: usual.options }, ...others];
  return shell === "fish" ? fish(levels) : bash(levels, shell);
}

/** The same functions in both: zsh has bash's `complete` after `bashcompinit`. */
function bash(levels: readonly Level[], shell: Shell): string {
  const names = levels.map(({ words, commands }) => `    "${words}") names="${commands.map((one) => one.name()).join(" ")}" ;;`);
  const flags = levels.map(({ words, options }) => `    "${words}") flags="${options.flatMap(flagsOf).join(" ")} --help" ;;`);
  const choices = new Map<string, string>();
  for (const { options } of levels)
    for (const option of options) if (option.argChoices) choices.set(flagsOf(option).join("|"), option.argChoices.join(" "));
  const valued = new Set(levels.flatMap(({ options }) => options.filter(takesValue).flatMap(flagsOf)));
  return `# cogwheel's completion for ${shell}: eval "$(cogwheel completion ${shell})"
${shell === "zsh" ? "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n" : ""}_cogwheel() {
  local word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}" level="" at names flags
  for ((at = 1; at < COMP_CWORD; at++)); do
    case "\${level:+$level }\${COMP_WORDS[at]}" in
${levels
  .filter(({ words }) => words)
  .map(({ words }) => `      "${words}") level="${words}" ;;`)
  .join("\n")}
    esac
  done
  case "$before" in
${[...choices].map(([flag, values]) => `    ${flag}) COMPREPLY=($(compgen -W "${values}" -- "$word")); return ;;`).join("\n")}
    ${[...valued].join("|")}) COMPREPLY=($(compgen -f -- "$word")); return ;;
  esac
  case "$level" in
${names.join("\n")}
  esac
  case "$level" in
${flags.join("\n")}
  esac
  if [[ "$word" == -* ]]; then COMPREPLY=($(compgen -W "$flags" -- "$word"))
  elif [[ -n "$names" ]]; then COMPREPLY=($(compgen -W "$names" -- "$word"))
  else COMPREPLY=($(compgen -f -- "$word"))
  fi
}
complete -o filenames -F _cogwheel cogwheel cogwheel-webgpu
`;
}

function fish(levels: readonly Level[]): string {
  const quoted = (text: string): string => `'${text.replace(/\\/g, "\\\\").replaceAll("'", "\\'")}'`;
  const lines = levels.flatMap(({ words, commands, options }) => {
    const seen = words
      .split(" ")
      .filter(Boolean)
      .map((word) => `__fish_seen_subcommand_from ${word}`);
    const names = commands.map((one) => one.name());
    const none = names.length ? `not __fish_seen_subcommand_from ${names.join(" ")}` : "";
    const when = [...seen, none].filter(Boolean).join("; and ");
    const condition = when ? ` -n ${quoted(when)}` : "";
    return [
      ...commands.map((one) => `complete -c cogwheel${condition} -a ${one.name()} -d ${quoted(one.description())}`),
      ...options.map((option) => {
        const { short, long, description, argChoices } = option;
        const value = argChoices ? ` -x -a ${quoted(argChoices.join(" "))}` : takesValue(option) ? " -r" : "";
        const flags = `${short ? `-s ${short.slice(1)} ` : ""}-l ${long!.slice(2)}`;
        return `complete -c cogwheel${condition} ${flags}${value} -d ${quoted(description)}`;
      }),
    ];
  });
  const head = "# cogwheel's completion for fish: cogwheel completion fish | source";
  return `${[head, ...lines, "complete -c cogwheel-webgpu -w cogwheel"].join("\n")}\n`;
}
