# Completion of rapyerctl for bash: commands, models, settings.
_rapyerctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} word command="" at=0 i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
            -s | --socket | -t | --timeout | -n | --namespace) i=$((i + 1)) ;;
            -*) ;;
            *) command=$word at=$i; break ;;
        esac
    done
    if [[ -z $command && $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "--socket --timeout --namespace --raw --json --version --help" -- "$cur")
    elif [[ -z $command ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(rapyerctl --help | awk '/^  [a-z]/ {print $1}')" -- "$cur")
    else
        local n=$((COMP_CWORD - at)) words=""
        case $command:$cur:$n in
            export:-*) words="--output --resume" ;;
            import:-*) words="--dry-run --if-absent --from" ;;
            get:-*) words="--touch" ;;
            ttl:*:3) words="--cascade" ;;
            index:*:1) words="list check build drop" ;;
            index:*:2) words=$(rapyerctl models 2>/dev/null | awk 'NR > 1 {print $1}') ;;
            index:*) words="--repair --yes" ;;
            find:*:1 | keys:*:1 | models:*:1 | save:*:1 | export:*) words=$(rapyerctl models 2>/dev/null | awk 'NR > 1 {print $1}') ;;
            find:*) words="--sort --limit --paths --keys --count --explain --scan --update --delete --yes --json" ;;
            config:*:1) words="get set reload" ;;
            config:*:2) words=$(rapyerctl config get 2>/dev/null | awk '{print $1}') ;;
            log:*:1) words="error warning notice info debug" ;;
            lock:*:1) words="break" ;;
            slowlog:*:1) words="clear" ;;
            monitor:*) words="key= method= client= slower= faults"; compopt -o nospace ;;
            define:*:1 | import:*:1) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        esac
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    fi
}
complete -F _rapyerctl rapyerctl
