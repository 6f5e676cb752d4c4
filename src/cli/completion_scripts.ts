/** What a shell is to know of a command. */
export interface CommandWords {
  readonly name: string;
  readonly summary: string;
  readonly options: readonly OptionWords[];
  /** What the first argument may be; none: a file. */
  readonly values: readonly string[];
  /** Whether it may be a file. */
  readonly files: boolean;
  /** What some of the values are, in a few words. */
  readonly told: ReadonlyMap<string, string>;
}

interface OptionWords {
  readonly long: string | undefined;
  readonly short: string | undefined;
  readonly description: string;
  /** Whether a value follows, which it may be, and whether a file may be given. */
  readonly takes: boolean;
  readonly values: readonly string[];
  readonly files: boolean;
  readonly told: ReadonlyMap<string, string>;
}

export type Shell = 'bash' | 'zsh' | 'fish';

export const shells: readonly Shell[] = ['bash', 'zsh', 'fish'];

/** Each makes a script; where none of the words fits, all complete files. */
export const scripts: Readonly<Record<Shell, (commands: readonly CommandWords[]) => string>> = { bash, zsh, fish };

const flagsOf = ({ long, short }: OptionWords): string[] => [long, short].filter((flag) => flag !== undefined);
const longsOf = ({ options }: CommandWords): string[] => options.flatMap(({ long }) => long ?? []);
const quoted = (text: string): string => `'${text.replace(/'/g, `'\\''`)}'`;

/** `quantize:--schedule) … ;;`: a branch of a case for each list of values, under all options that take it. */
function branches(
  commands: readonly CommandWords[],
  body: (values: readonly string[], files: boolean) => string,
): string {
  const found = new Map<string, { readonly option: OptionWords; readonly keys: string[] }>();
  for (const { name, options } of commands)
    for (const option of options)
      if (option.takes)
        for (const flag of flagsOf(option)) {
          const text = `${option.values.join(' ')} ${option.files}`;
          found.set(text, { option, keys: [...(found.get(text)?.keys ?? []), `${name}:${flag}`] });
        }
  return [...found.values()]
    .map(({ option, keys }) => `    ${keys.join('|')}) ${body(option.values, option.files)} ;;`)
    .join('\n');
}

// Bash 3.2, which macOS has, knows neither compopt nor mapfile: files are left to readline (-o default), where no word fits.
function bash(commands: readonly CommandWords[]): string {
  return `# Completion of qtool for bash. In ~/.bashrc: eval "$(qtool completion bash)"
_qtool() {
  local current=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} command=\${COMP_WORDS[1]} words='' i place=0
  COMPREPLY=()
  # --schedule=int8 is three words to bash.
  if [[ $current == '=' ]]; then current=''
  elif [[ $before == '=' ]]; then before=\${COMP_WORDS[COMP_CWORD-2]}
  fi
  if (( COMP_CWORD == 1 )); then
    COMPREPLY=($(compgen -W ${quoted([...commands.map(({ name }) => name), '--help', '--version'].join(' '))} -- "$current"))
    return
  fi
  case $command:$before in
${branches(commands, (values) => (values.length === 0 ? 'return' : `COMPREPLY=($(compgen -W ${quoted(values.join(' '))} -- "$current")); return`))}
  esac
  if [[ $current == -* ]]; then
    case $command in
${commands.map((one) => `      ${one.name}) words=${quoted(longsOf(one).join(' '))} ;;`).join('\n')}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    return
  fi
  (( COMP_CWORD == 2 )) && place=1
  case $command:$place in
${commands
  .filter(({ values }) => values.length > 0)
  .map(({ name, values }) => `    ${name}:1) COMPREPLY=($(compgen -W ${quoted(values.join(' '))} -- "$current")) ;;`)
  .join('\n')}
  esac
}
complete -o default -F _qtool qtool
`;
}

function zsh(commands: readonly CommandWords[]): string {
  const described = (pairs: readonly (readonly [string, string])[]): string =>
    pairs.map(([word, text]) => quoted(`${word.replace(/:/g, '\\:')}:${text}`)).join(' ');
  return `#compdef qtool
# Completion of qtool for zsh. In ~/.zshrc, behind compinit: eval "$(qtool completion zsh)"
_qtool() {
  local -a items
  local command=\${words[2]} before=\${words[CURRENT-1]}
  if (( CURRENT == 2 )); then
    items=(${described(commands.map(({ name, summary }) => [name, summary]))})
    _describe command items
    [[ \${words[2]} == -* ]] && compadd -- --help --version
    return
  fi
  # --schedule=int8 is one word to zsh.
  if [[ \${words[CURRENT]} == --*=* ]]; then before=\${words[CURRENT]%%=*}; compset -P '*='; fi
  case $command:$before in
${branches(commands, (values, files) => `${values.length > 0 ? `compadd -- ${values.map(quoted).join(' ')}; ` : ''}${files ? '_files; ' : ''}return`)}
  esac
  if [[ \${words[CURRENT]} == -* ]]; then
    case $command in
${commands
  .map(
    ({ name, options }) =>
      `      ${name}) items=(${described(options.flatMap(({ long, description }) => (long === undefined ? [] : [[long, description] as const])))}) ;;`,
  )
  .join('\n')}
    esac
    _describe option items
    return
  fi
  if (( CURRENT == 3 )); then
    case $command in
${commands
  .filter(({ values }) => values.length > 0)
  .map(
    ({ name, values, files }) =>
      `      ${name}) compadd -- ${values.map(quoted).join(' ')}${files ? '' : '; return'} ;;`,
  )
  .join('\n')}
    esac
  fi
  _files
}
if [[ $funcstack[1] == _qtool ]]; then _qtool "$@"; else compdef _qtool qtool; fi
`;
}

function fish(commands: readonly CommandWords[]): string {
  const text = (words: string): string => `'${words.replace(/\\/g, '\\\\').replace(/'/g, "\\'")}'`;
  // Fish reads these words again when it completes: quoted within, a tab before what each is.
  const words = (values: readonly string[], told: ReadonlyMap<string, string>): string =>
    text(values.map((value) => (told.has(value) ? `${value}\\t${text(told.get(value) ?? '')}` : value)).join(' '));
  const lines = commands.flatMap(({ name, summary, options, values, files, told }) => {
    const within = `complete -c qtool -n '__fish_seen_subcommand_from ${name}'`;
    return [
      `complete -c qtool -n __fish_use_subcommand -f -a ${name} -d ${text(summary)}`,
      ...(values.length > 0 ? [`${within}${files ? '' : ' -f'} -a ${words(values, told)}`] : []),
      ...options.map(({ long, short, description, takes, values: known, files: file, told: of }) =>
        [
          within,
          ...(short === undefined ? [] : [`-s ${short.slice(1)}`]),
          ...(long === undefined ? [] : [`-l ${long.slice(2)}`]),
          ...(takes ? [file ? '-r' : '-x'] : []),
          ...(known.length > 0 ? [`-a ${words(known, of)}`] : []),
          `-d ${text(description)}`,
        ].join(' '),
      ),
    ];
  });
  return `# Completion of qtool for fish. In ~/.config/fish/config.fish: qtool completion fish | source
complete -c qtool -n __fish_use_subcommand -f -l help -s h -d 'show the help'
complete -c qtool -n __fish_use_subcommand -f -l version -s v -d 'print the version'
${lines.join('\n')}
`;
}
