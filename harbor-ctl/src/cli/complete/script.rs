//! The shell scripts that call the program whenever a word is to be completed.

use std::io::{self, Write as _};

use clap::{CommandFactory as _, ValueEnum};
use clap_complete::Shell as Static;

use super::super::arguments::Arguments;

/// Shells, as they are called here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

/// Bash takes words apart at `=` and `:`: the line is taken as it is, and what stands before the last of
/// these is left out of the answer. A function's name has no hyphen, for shells that keep to POSIX.
const BASH: &str = r#"_harbor_ctl() {
    local line="${COMP_LINE:0:COMP_POINT}" current before candidate
    local -a words
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    current="${words[${#words[@]}-1]}"
    before="${current%"${current##*[=:]}"}"
    COMPREPLY=()
    while IFS= read -r candidate; do
        [[ -n $candidate ]] && COMPREPLY+=("${candidate#"$before"}")
    done <<< "$("${words[0]}" __complete "${words[@]:1}" 2> /dev/null)"
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace 2> /dev/null
    fi
}
complete -o default -F _harbor_ctl harbor-ctl
"#;

const ZSH: &str = r#"#compdef harbor-ctl
_harbor_ctl() {
    local -a all
    all=("${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2> /dev/null)}")
    if [[ -z "${all[*]}" ]]; then
        _files
        return
    fi
    compadd -S '' -- ${(M)all:#*=}
    compadd -- ${all:#*=}
}
compdef _harbor_ctl harbor-ctl
"#;

const FISH: &str = "complete -c harbor-ctl -a \
'(set -l words (commandline -opc); $words[1] __complete $words[2..] (commandline -ct) 2> /dev/null)'\n";

/// Prints the script of a shell. Two of them have none that asks: theirs knows verbs and flags.
pub(in crate::cli) fn print(shell: Shell) {
    let text = match shell {
        Shell::Bash => BASH,
        Shell::Zsh => ZSH,
        Shell::Fish => FISH,
        Shell::Elvish => return generate(Static::Elvish),
        Shell::Powershell => return generate(Static::PowerShell),
    };
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

fn generate(shell: Static) {
    let mut command = Arguments::command();
    clap_complete::generate(shell, &mut command, "harbor-ctl", &mut io::stdout());
}
