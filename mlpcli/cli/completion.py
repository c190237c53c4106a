"""Completion in a shell: click's own, and what it lacks for `--set key=value` in bash and zsh.

bash   eval "$(_MLPCLI_COMPLETE=bash_source mlpcli)"
zsh    eval "$(_MLPCLI_COMPLETE=zsh_source mlpcli)"
fish   _MLPCLI_COMPLETE=fish_source mlpcli | source
"""

from __future__ import annotations

import os

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

# After a key and its `=` both go on without a space.

BASH = """\
%(complete_func)s() {
    local type value
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                COMPREPLY+=("$value")
                if [[ $value == *= ]]; then compopt -o nospace; fi
                ;;
        esac
    done < <(IFS=$'\\n'; env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" \
%(complete_var)s=bash_complete "$1")
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""

ZSH = """\
#compdef %(prog_name)s

%(complete_func)s() {
    local type value help
    local -a lines closed open
    lines=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) \
%(complete_var)s=zsh_complete %(prog_name)s)}")
    for type value help in "${(@)lines}"; do
        case $type in
            dir) _path_files -/ ;;
            file) _path_files -f ;;
            plain)
                value=${value//:/\\\\:}
                [[ $help == _ ]] || value+=":$help"
                if [[ ${value%%%%:*} == *= ]]; then open+=("$value"); else closed+=("$value"); fi
                ;;
        esac
    done
    (( $#open )) && _describe -V mlpcli open -U -S ''
    (( $#closed )) && _describe -V mlpcli closed -U
    return 0
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
    compdef %(complete_func)s %(prog_name)s
fi
"""


def register() -> None:
    """Have click use these for bash and zsh."""
    add_completion_class(Bash)
    add_completion_class(Zsh)


class Bash(BashComplete):
    """Bash splits words at `=` and completes what comes after it; here they are whole again."""

    source_template = BASH
    _before = ""  # of the word at the cursor, what bash holds for words of their own

    def get_completion_args(self) -> tuple[list[str], str]:
        pieces = split_arg_string(os.environ["COMP_WORDS"])
        cursor = int(os.environ["COMP_CWORD"])
        words: list[str] = []
        for i, piece in enumerate(pieces[: cursor + 1]):
            if i > 1 and "=" in (piece, pieces[i - 1]):
                self._before = words[-1] + ("=" if piece == "=" else "")
                words[-1] += piece
            else:
                self._before = ""
                words.append(piece)
        if cursor < len(pieces):
            return words[1:-1], words[-1]
        self._before = ""
        return words[1:], ""

    def format_completion(self, item: CompletionItem[str]) -> str:
        before = self._before
        while before and not item.value.startswith(before):  # as in --set=key=value
            before = before.partition("=")[2]
        return f"{item.type},{item.value.removeprefix(before)}"


class Zsh(ZshComplete):
    """Zsh keeps `key=value` one word; the script escapes what `_describe` would split at."""

    source_template = ZSH

    def format_completion(self, item: CompletionItem[str]) -> str:
        return f"{item.type}\n{item.value}\n{item.help or '_'}"
