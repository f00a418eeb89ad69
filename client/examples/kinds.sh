#!/bin/sh
# Sets, priority queues, references, conditions and what lives as long as it is read, by rapyerctl alone. The lines
# behind "#=" are what it prints; tests/integration/test_examples.py compares them.
set -eu
call() { rapyerctl --json call "$@"; }

call define '[{"name": "Team", "kind": "atomic", "ttl": 3600, "fields": [{"name": "name", "type": "str"}]},
    {"name": "Job", "kind": "atomic", "ttl": 600, "refresh_ttl": {"team": 0}, "fields": [
        {"name": "tags", "type": "set<str>"}, {"name": "queue", "type": "sorted<str>"},
        {"name": "team", "type": "optional<ref<Team>>"}, {"name": "price", "type": "decimal", "default": "0"},
        {"name": "lanes", "type": "dict<list<str>>"}]}]'
#= [{"model":"Team","revision":1},{"model":"Job","revision":1}]
rapyerctl save Team:t '{"name": "Tea"}'
rapyerctl save Job:1 '{"team": "Team:t"}'

call set.add '["Job:1", "tags", "new"]' #= 1
call set.unite '["Job:1", "tags", ["sale", "new"]]' #= 2
call set.has '["Job:1", "tags", "sale"]' #= true
call sorted.push_many '["Job:1", "queue", [["late", 9], ["soon", 1.5]]]' #= 2
call sorted.pop_min '["Job:1", "queue"]' #= ["soon",1.5]
call sorted.incr '["Job:1", "queue", "late", -4]' #= 5.0
call num.incr '["Job:1", "price", "0.10"]' #= "0.10"
call dict.set '["Job:1", "lanes", "a", []]' >/dev/null
call list.append '["Job:1", "lanes[\"a\"]", "inside"]' #= 1

rapyerctl --json ref Job:1 team #= {"@pk":"t","name":"Tea"}
call pipeline '[[["if", "Team:t", "", {"exists": true}], ["set.remove", "Job:1", "tags", "new"]]]' #= [true,1]
rapyerctl ttl Team:t 60 #= 60
rapyerctl --json get Job:1 tags --touch #= {"tags":["sale"]}
call set.add '["Job:1", "tags", "kept"]' #= 1
test "$(rapyerctl ttl Team:t)" -gt 3000 # the team lives on with each write to the job
