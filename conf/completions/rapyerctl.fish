# Completion of rapyerctl for fish: commands, models, settings.
function __rapyerctl_commands
    rapyerctl --help | string match -r '^  [a-z]+' | string trim
end
function __rapyerctl_models
    rapyerctl models 2>/dev/null | tail -n +2 | string replace -r ' .*' ''
end
function __rapyerctl_settings
    rapyerctl config get 2>/dev/null | string replace -r ' =.*' ''
end
complete -c rapyerctl -f
complete -c rapyerctl -s s -l socket -r -F -d 'where rapyerd listens'
complete -c rapyerctl -s t -l timeout -x -d 'seconds to wait'
complete -c rapyerctl -s n -l namespace -x -d 'of models'
complete -c rapyerctl -s r -l raw -d 'no quotes'
complete -c rapyerctl -s j -l json -d 'JSON in one line'
complete -c rapyerctl -s V -l version
complete -c rapyerctl -s h -l help
complete -c rapyerctl -n __fish_use_subcommand -a '(__rapyerctl_commands)'
complete -c rapyerctl -n '__fish_seen_subcommand_from find keys models save export' -a '(__rapyerctl_models)'
complete -c rapyerctl -n '__fish_seen_subcommand_from index' -a 'list check build drop (__rapyerctl_models)'
complete -c rapyerctl -n '__fish_seen_subcommand_from index' -l repair
complete -c rapyerctl -n '__fish_seen_subcommand_from index' -l yes
for option in keys count explain scan delete yes json
    complete -c rapyerctl -n '__fish_seen_subcommand_from find' -l $option
end
for option in sort limit paths update
    complete -c rapyerctl -n '__fish_seen_subcommand_from find' -l $option -x
end
complete -c rapyerctl -n '__fish_seen_subcommand_from get' -l touch
complete -c rapyerctl -n '__fish_seen_subcommand_from ttl' -l cascade
complete -c rapyerctl -n '__fish_seen_subcommand_from export' -l output -r -F
complete -c rapyerctl -n '__fish_seen_subcommand_from export' -l resume
complete -c rapyerctl -n '__fish_seen_subcommand_from import' -l dry-run
complete -c rapyerctl -n '__fish_seen_subcommand_from import' -l if-absent
complete -c rapyerctl -n '__fish_seen_subcommand_from import' -l from -x
complete -c rapyerctl -n '__fish_seen_subcommand_from config' -a 'get set reload (__rapyerctl_settings)'
complete -c rapyerctl -n '__fish_seen_subcommand_from log' -a 'error warning notice info debug'
complete -c rapyerctl -n '__fish_seen_subcommand_from lock' -a break
complete -c rapyerctl -n '__fish_seen_subcommand_from slowlog' -a clear
complete -c rapyerctl -n '__fish_seen_subcommand_from monitor' -a 'key= method= client= slower= faults'
complete -c rapyerctl -n '__fish_seen_subcommand_from define import' -F
