package main

import (
	"fmt"
	"hash/fnv"
	"reflect"
	"sort"
	"strings"

	"github.com/anishathalye/porcupine"
)

// A document of the model that the recorder declares. Never changed once it is part of a state.
type doc struct {
	n    float64
	text string
	tags []string
	jobs map[string]string
	kinds
	// Which request gave it its deadline, 0: none; and when it is over by the slowest of clocks.
	deadline, until float64
}

// What is there of each key.
type state map[string]*doc

type outcome struct {
	maybe  bool // nobody was told
	code   string
	result interface{}
}

func empty() *doc { return &doc{jobs: map[string]string{}, kinds: noKinds()} }

func (d *doc) copy() *doc {
	c := &doc{n: d.n, text: d.text, tags: append([]string{}, d.tags...), jobs: map[string]string{},
		deadline: d.deadline, until: d.until, kinds: d.kinds.copy()}
	for k, v := range d.jobs {
		c.jobs[k] = v
	}
	return c
}

func (d *doc) String() string {
	var jobs []string
	for k, v := range d.jobs {
		jobs = append(jobs, k+"="+v)
	}
	sort.Strings(jobs)
	return fmt.Sprintf("%v|%s|%s|%s|%v|%v", d.n, d.text, strings.Join(d.tags, ","), strings.Join(jobs, ","),
		d.deadline, d.kinds)
}

func (s state) String() string {
	var all []string
	for k, d := range s {
		all = append(all, k+":"+d.String())
	}
	sort.Strings(all)
	return strings.Join(all, ";")
}

func (s state) with(key string, d *doc) state {
	n := state{}
	for k, v := range s {
		n[k] = v
	}
	if d == nil {
		delete(n, key)
	} else {
		n[key] = d
	}
	return n
}

func whole(d *doc) map[string]interface{} {
	tags := make([]interface{}, len(d.tags))
	for i, t := range d.tags {
		tags[i] = t
	}
	jobs := map[string]interface{}{}
	for k, v := range d.jobs {
		jobs[k] = v
	}
	all := map[string]interface{}{"n": d.n, "text": d.text, "tags": tags, "jobs": jobs}
	d.kinds.whole(all)
	return all
}

// anything: a result that the state does not determine (a version).
type anything struct{}

// apply carries one request out: the state after it, and the result or the code of the error.
func apply(s state, request []interface{}) (state, interface{}, string) {
	method := request[0].(string)
	if method == "pipeline" {
		return pipeline(s, request[1].([]interface{}))
	}
	if method == "foreign.flushall" {
		return state{}, anything{}, ""
	}
	key := request[1].(string)
	args := request[2:]
	d, there := s[key]
	if method == "set" && args[0] == "code" && there && taken(s, key, args[1]) {
		return s, nil, "CONFLICT"
	}
	switch method {
	case "if":
		if holds(d, args[0].(string), args[1].(map[string]interface{})) {
			return s, true, ""
		}
		return s, nil, "CONFLICT"
	case "doc.exists":
		if there {
			return s, 1.0, ""
		}
		return s, 0.0, ""
	case "doc.save":
		c := saved(args[0].(map[string]interface{}))
		if there {
			c.deadline, c.until = d.deadline, d.until
		}
		return s.with(key, c), anything{}, ""
	case "doc.insert":
		if there {
			return s, nil, "CONFLICT"
		}
		return s.with(key, saved(args[0].(map[string]interface{}))), anything{}, ""
	case "doc.delete":
		if !there {
			return s, 0.0, ""
		}
		return s.with(key, nil), 1.0, ""
	case "foreign.del":
		return s.with(key, nil), anything{}, ""
	case "clock.expire": // of the deadline that a request gave it; it may have another one by now
		if there && d.deadline == args[0].(float64) {
			return s.with(key, nil), anything{}, ""
		}
		return s, anything{}, ""
	}
	if !there {
		if strings.HasPrefix(method, "foreign.") {
			return s, anything{}, ""
		}
		return s, nil, "NOT_FOUND"
	}
	if method == "doc.get" {
		// A plain read has its real moment with it: it may be old, but not past a deadline.
		if len(args) > 0 && d.deadline != 0 && args[0].(float64) > d.until {
			return s, nil, "EXPIRED"
		}
		return s, whole(d), ""
	}
	c := d.copy()
	result, code := change(c, method, args)
	if code != "" {
		return s, nil, code
	}
	return s.with(key, c), result, ""
}

func saved(m map[string]interface{}) *doc {
	d := empty()
	if n, ok := m["n"]; ok {
		d.n = n.(float64)
	}
	if t, ok := m["text"]; ok {
		d.text = t.(string)
	}
	if tags, ok := m["tags"]; ok {
		for _, t := range tags.([]interface{}) {
			d.tags = append(d.tags, t.(string))
		}
	}
	if jobs, ok := m["jobs"]; ok {
		for k, v := range jobs.(map[string]interface{}) {
			d.jobs[k] = v.(string)
		}
	}
	d.kinds.save(m)
	return d
}

func index(i float64, n int) (int, bool) {
	at := int(i)
	if at < 0 {
		at += n
	}
	return at, at >= 0 && at < n
}

// change: the operations on what is there. They may change d, which nobody else has yet.
func change(d *doc, method string, args []interface{}) (interface{}, string) {
	if path := pathOf(args); path != "" {
		if result, code, done := d.kinds.change(method, path, args[1:]); done {
			return result, code
		}
	}
	switch method {
	case "set":
		d.n = args[1].(float64)
		return anything{}, ""
	case "num.incr":
		d.n += args[1].(float64)
		return d.n, ""
	case "num.mod":
		m := args[1].(float64)
		d.n = float64(int64(d.n) % int64(m))
		return d.n, ""
	case "str.append":
		d.text += args[1].(string)
		return d.text, ""
	case "list.append":
		d.tags = append(d.tags, args[1].(string))
		return float64(len(d.tags)), ""
	case "foreign.rpush":
		d.tags = append(d.tags, args[1].(string))
		return anything{}, ""
	case "list.insert":
		at := int(args[1].(float64))
		if at > len(d.tags) {
			return nil, "OUT_OF_RANGE"
		}
		d.tags = append(d.tags[:at], append([]string{args[2].(string)}, d.tags[at:]...)...)
		return float64(len(d.tags)), ""
	case "list.pop":
		at, ok := index(args[1].(float64), len(d.tags))
		if !ok {
			return nil, "OUT_OF_RANGE"
		}
		v := d.tags[at]
		d.tags = append(d.tags[:at], d.tags[at+1:]...)
		return v, ""
	case "list.clear":
		d.tags = nil
		return anything{}, ""
	case "dict.set":
		d.jobs[args[1].(string)] = args[2].(string)
		return anything{}, ""
	case "dict.del":
		_, there := d.jobs[args[1].(string)]
		delete(d.jobs, args[1].(string))
		return there, ""
	case "dict.pop":
		v, there := d.jobs[args[1].(string)]
		if !there {
			return nil, "NOT_FOUND"
		}
		delete(d.jobs, args[1].(string))
		return v, ""
	case "foreign.hset":
		d.n = args[1].(float64)
		return anything{}, ""
	case "doc.ttl", "foreign.pexpire":
		d.deadline, d.until = args[1].(float64), args[2].(float64)
		return anything{}, ""
	case "doc.persist", "foreign.persist":
		had := d.deadline != 0
		d.deadline, d.until = 0, 0
		if method == "foreign.persist" {
			return anything{}, ""
		}
		return had, ""
	}
	panic("the model has no " + method)
}

func pipeline(s state, requests []interface{}) (state, interface{}, string) {
	var results []interface{}
	at := s
	skip := 0
	for _, r := range requests {
		if skip > 0 {
			skip--
			results = append(results, nil)
			continue
		}
		next, result, code := apply(at, r.([]interface{}))
		if op := r.([]interface{}); op[0] == "if" && len(op) == 5 {
			result = code == ""
			if code != "" {
				code, skip = "", int(op[4].(float64))
			}
		}
		if code != "" {
			return s, nil, code
		}
		at = next
		results = append(results, result)
	}
	return at, results, ""
}

// matches: what was answered is what the model says.
func matches(model, told interface{}) bool {
	if _, any := model.(anything); any {
		return true
	}
	if list, ok := model.([]interface{}); ok {
		others, ok := told.([]interface{})
		if !ok || len(list) != len(others) {
			return false
		}
		for i := range list {
			if !matches(list[i], others[i]) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(model, told)
}

func step(s, input, output interface{}) (bool, interface{}) {
	o := output.(outcome)
	next, result, code := apply(s.(state), input.([]interface{}))
	if o.maybe {
		// Left out by giving it the last place: nothing comes after it then.
		return true, next
	}
	if code != o.code {
		return false, s
	}
	if code != "" {
		return true, s
	}
	return matches(result, o.result), next
}

var documents = porcupine.Model{
	Init:  func() interface{} { return state{} },
	Step:  step,
	Equal: func(a, b interface{}) bool { return a.(state).String() == b.(state).String() },
	Hash: func(s interface{}) uint64 {
		h := fnv.New64a()
		h.Write([]byte(s.(state).String()))
		return h.Sum64()
	},
}
