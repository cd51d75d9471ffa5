/** `cogwheel completion`: what a shell completes, made of the commands and options as they are declared. */
import { Command, type Option } from "commander";
import { NAMED_MODELS } from "../pipelines/cogvideox/named-models.ts";
import { addCommands, type CliCommand } from "./command.ts";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

/** What may come after an option, or as a command's first word: these words, and perhaps the names of files. */
interface Values {
  readonly words: readonly string[];
  readonly files: boolean;
}

interface Flag extends Values {
  readonly names: readonly string[];
  readonly help: string;
  readonly takesValue: boolean;
}

/** A command by its words, such as `models pull`; the first, "", is the program itself. */
interface Level {
  readonly words: string;
  readonly commands: readonly Command[];
  readonly flags: readonly Flag[];
  /** Of its first word, where it has no commands. */
  readonly first: Values;
}

/** Places whose name says that a model stands there take a short name too, or a folder. */
const MODEL = { words: NAMED_MODELS.map(({ alias }) => alias), files: true };
const PATH = /file|folder|path|dir|model|checkpoint/;

function levelsOf(command: Command, words = ""): Level[] {
  const { commands, registeredArguments } = command;
  const below = commands.flatMap((one) => levelsOf(one, `${words} ${one.name()}`.trim()));
  const flags = command.options.filter(({ hidden }) => !hidden).map(flagOf);
  const [argument] = registeredArguments;
  const first = valuesOf(argument?.name() === "model", argument?.argChoices, registeredArguments.length > 0);
  return [{ words, commands, flags, first: NAMES_ONLY.test(words) ? { ...first, files: false } : first }, ...below];
}

/** What these are asked of is on the hub, or in its cache: no folder. */
const NAMES_ONLY = /^models /;

function flagOf(option: Option): Flag {
  const { short, long, flags, description, required, optional, argChoices } = option;
  const [, value = ""] = /[<[](.*)[>\]]$/.exec(flags) ?? [];
  return {
    names: [short, long].filter((name) => name !== undefined),
    help: description,
    takesValue: required || optional,
    ...valuesOf(long === "--model" && /folder|model/.test(value), argChoices, PATH.test(value)),
  };
}

const valuesOf = (model: boolean, choices: readonly string[] | undefined, files: boolean): Values =>
  model ? MODEL : { words: choices ?? [], files: files && choices === undefined };

/** The script that a shell reads. Words without a command are `generate`'s. */
export function completionScript(shell: Shell, all: readonly CliCommand[]): string {
  const program = new Command("cogwheel");
  addCommands(program, all, () => undefined);
  const [root, ...others] = levelsOf(program);
  const usual = others.find(({ words }) => words === "generate")!;
  const help: Flag = { names: ["-h", "--help"], help: "display help for command", takesValue: false, words: [], files: false };
  const levels = [{ ...root!, flags: usual.flags }, ...others].map((level) => ({ ...level, flags: [...level.flags, help] }));
  return { bash, zsh, fish }[shell](levels);
}

/** In single quotes, as bash and zsh read them. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** Branches of a `case` over the words so far, which make `level` the command that they name. */
const levelCases = (levels: readonly Level[]): string =>
  levels
    .filter(({ words }) => words)
    .map(({ words }) => `      "${words}") level="${words}" ;;`)
    .join("\n");

function bash(levels: readonly Level[]): string {
  const answer = ({ words, files }: Values): string =>
    [...(words.length ? [`_cogwheel_words "${words.join(" ")}"`] : []), ...(files ? ["_cogwheel_files"] : [])].join("; ") || ":";
  const cases = levels.map(({ words, commands, flags, first }) => {
    const valued = flags.filter(({ takesValue }) => takesValue);
    const after = valued.map((flag) => `        ${flag.names.join("|")}) ${answer(flag)}; return ;;`);
    const names = commands.map((one) => one.name());
    return `    "${words}")
      case "$before" in
${after.join("\n")}
      esac
      if [[ "$word" == -* ]]; then _cogwheel_words "${flags.flatMap((flag) => flag.names).join(" ")}"
      else ${answer({ ...first, words: [...names, ...first.words] })}
      fi ;;`;
  });
  return `# cogwheel's completion for bash: eval "$(cogwheel completion bash)"
_cogwheel_words() { COMPREPLY+=($(compgen -W "$1" -- "$word")); }
_cogwheel_files() {
  local IFS=$'\\n'
  compopt -o filenames 2>/dev/null
  COMPREPLY+=($(compgen -f -- "$word"))
}
_cogwheel() {
  local word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}" level="" at
  COMPREPLY=()
  for ((at = 1; at < COMP_CWORD; at++)); do
    case "\${level:+$level }\${COMP_WORDS[at]}" in
${levelCases(levels)}
    esac
  done
  case "$level" in
${cases.join("\n")}
  esac
}
complete -F _cogwheel cogwheel cogwheel-webgpu
`;
}

function zsh(levels: readonly Level[]): string {
  const answer = ({ words, files }: Values): string =>
    [...(words.length ? [`compadd -- ${words.join(" ")}`] : []), ...(files ? ["_files"] : [])].join("; ") || ":";
  const described = (name: string, help: string): string => quoted(`${name.replaceAll(":", "\\:")}:${help}`);
  const cases = levels.map(({ words, commands, flags, first }) => {
    const after = flags
      .filter(({ takesValue }) => takesValue)
      .map((flag) => `        (${flag.names.join("|")}) ${answer(flag)}; return ;;`);
    const names = commands.map((one) => described(one.name(), one.description()));
    const shown = flags.flatMap((flag) => flag.names.map((name) => described(name, flag.help)));
    return `    ("${words}")
      case "$before" in
${after.join("\n")}
      esac
      if [[ $PREFIX == -* ]]; then
        told=(${shown.join(" ")})
        _describe -o option told
      else
        ${[...(names.length ? [`told=(${names.join(" ")})`, "_describe command told"] : []), answer(first)].join("\n        ")}
      fi ;;`;
  });
  return `#compdef cogwheel cogwheel-webgpu
# cogwheel's completion for zsh: eval "$(cogwheel completion zsh)"
_cogwheel() {
  local level="" before="$words[CURRENT-1]" at
  local -a told
  for ((at = 2; at < CURRENT; at++)); do
    case "\${level:+$level }$words[at]" in
${levelCases(levels).replaceAll('      "', '      ("')}
    esac
  done
  case "$level" in
${cases.join("\n")}
  esac
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
compdef _cogwheel cogwheel cogwheel-webgpu
`;
}

function fish(levels: readonly Level[]): string {
  const quoted = (text: string): string => `'${text.replace(/\\/g, "\\\\").replaceAll("'", "\\'")}'`;
  const lines = levels.flatMap(({ words, commands, flags, first }) => {
    const here = `complete -c cogwheel -n ${quoted(`__cogwheel_at "${words}"`)}`;
    const only = first.files ? "" : " -f";
    const choices = first.words.length ? ` -a ${quoted(first.words.join(" "))}` : "";
    return [
      ...(only || choices ? [`${here}${only}${choices}`] : []),
      ...commands.map((one) => `${here} -a ${one.name()} -d ${quoted(one.description())}`),
      ...flags.map(({ names, help, takesValue, words: values, files }) => {
        const given = values.length ? ` -a ${quoted(values.join(" "))}` : "";
        const value = takesValue ? `${files ? " -r -F" : " -x"}${given}` : "";
        const flag = names.map((name) => (name.startsWith("--") ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`)).join(" ");
        return `${here} ${flag}${value} -d ${quoted(help)}`;
      }),
    ];
  });
  return `# cogwheel's completion for fish: cogwheel completion fish | source
function __cogwheel_at
    set -l level
    for word in (commandline -opc)[2..]
        switch (string trim "$level $word")
${levels
  .filter(({ words }) => words)
  .map(({ words }) => `            case "${words}"\n                set level "${words}"`)
  .join("\n")}
        end
    end
    test "$level" = "$argv[1]"
end
${lines.join("\n")}
complete -c cogwheel-webgpu -w cogwheel
`;
}
