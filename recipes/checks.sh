# Sourced by every recipe before anything else: a setting from the surroundings is data. It is checked against what it may
# be before anything is written or installed; one that is something else ends in one line and exit code 2.
# shellcheck shell=bash

NETWORKS=(mobilenetv2 efficientnet_b0 efficientnet_b2 resnet50 mbnet ast_tiny ast_small ast_base)

refuse() { printf '%s\n' "$1" >&2; exit 2; }

# refuse_value NAME RULE: the value on one line, cut to 80 characters.
refuse_value() {
    local LC_ALL=C value=${!1}
    case $value in *[!\ -~]*) printf -v value %q "$value" ;; esac
    [ "${#value}" -le 80 ] || value=${value:0:77}...
    refuse "$1=$value: $2"
}

# text NAME...: one line of UTF-8, which no program can take for an option.
text() {
    local LC_ALL=C name
    for name in "$@"; do
        case ${!name-} in
        -*)            refuse_value "$name" "begins with '-'; a path can begin with ./" ;;
        *[[:cntrl:]]*) refuse_value "$name" "holds a control character" ;;
        *[!\ -~]*)     ! command -v iconv >/dev/null || iconv -f UTF-8 -t UTF-8 <<<"${!name}" >/dev/null 2>&1 ||
                           refuse_value "$name" "not UTF-8" ;;
        esac
    done
}

# file NAME..., folder NAME...: a path of what is there, or nothing. A relative one gets ./, so that it is seen as a path.
file() { existing -f "a file" "$@"; }
folder() { existing -d "a folder" "$@"; }
existing() {
    local name
    text "${@:3}"
    for name in "${@:3}"; do
        [ -n "${!name-}" ] || continue
        [ "$1" "${!name}" ] || refuse_value "$name" "not $2 that is there"
        [ -r "${!name}" ] || refuse_value "$name" "may not be read"
    done
}

# whole NAME LEAST MOST: a whole number, or nothing.
whole() {
    [ -n "${!1-}" ] || return 0
    [[ ${!1} =~ ^(0|[1-9][0-9]{0,8})$ ]] && [ "${!1}" -ge "$2" ] && [ "${!1}" -le "$3" ] ||
        refuse_value "$1" "not a whole number from $2 to $3"
}

# one_of NAME WORD...: one of these words, or nothing.
one_of() {
    local word
    [ -n "${!1-}" ] || return 0
    for word in "${@:2}"; do [ "${!1}" != "$word" ] || return 0; done
    refuse_value "$1" "must be $(listed "${@:2}")"
}
listed() { local words="${*:1:$#-1}"; printf '%s or %s' "${words// /, }" "${!#}"; }

# matching NAME PATTERN WHAT: what the pattern says, or nothing.
matching() { [ -z "${!1-}" ] || [[ ${!1} =~ ^($2)$ ]] || refuse_value "$1" "not $3"; }

# words NAME PATTERN WHAT: sets $words to those of a setting; each is what the pattern says, and none is listed twice.
words() {
    local word shown seen=' '
    text "$1"
    read -ra words <<<"${!1-}"
    [ -z "${!1-}" ] || [ ${#words[@]} -gt 0 ] || refuse_value "$1" "names nothing"
    for word in "${words[@]}"; do
        printf -v shown %q "$word"
        [[ $word =~ ^($2)$ ]] || refuse_value "$1" "${shown:0:40} is not $3"
        case $seen in *" $word "*) refuse_value "$1" "$word is listed twice" ;; esac
        seen+="$word "
    done
}
