package main

import (
	"fmt"
	"sort"
)

// What a document has beside numbers, texts, lists and dicts of values: marks is a set, queue a sorted, card an
// optional model, lanes a dict of lists (one value in Redis), rows a dict of lists of models; no two documents
// have the same code.
type kinds struct {
	marks map[string]bool
	queue map[string]float64
	card  *float64
	lanes map[string][]string
	rows  map[string][]row
	code  string
}

type row struct {
	pk string
	n  float64
}

func noKinds() kinds {
	return kinds{marks: map[string]bool{}, queue: map[string]float64{}, lanes: map[string][]string{},
		rows: map[string][]row{}}
}

func (k kinds) copy() kinds {
	c := noKinds()
	c.code = k.code
	for m := range k.marks {
		c.marks[m] = true
	}
	for m, score := range k.queue {
		c.queue[m] = score
	}
	if k.card != nil {
		n := *k.card
		c.card = &n
	}
	for name, lane := range k.lanes {
		c.lanes[name] = append([]string{}, lane...)
	}
	for name, rows := range k.rows {
		c.rows[name] = append([]row{}, rows...)
	}
	return c
}

// Maps are printed by fmt in the order of their keys.
func (k kinds) String() string {
	card := "nil"
	if k.card != nil {
		card = fmt.Sprint(*k.card)
	}
	return fmt.Sprint(k.marks, k.queue, card, k.lanes, k.rows, k.code)
}

// The lowest score, and of those the first member.
func (k kinds) first() string {
	best := ""
	for m, score := range k.queue {
		if best == "" || score < k.queue[best] || (score == k.queue[best] && m < best) {
			best = m
		}
	}
	return best
}

// whole adds what is not empty, as a read shows it.
func (k kinds) whole(all map[string]interface{}) {
	if len(k.marks) > 0 {
		var names []string
		for m := range k.marks {
			names = append(names, m)
		}
		sort.Strings(names)
		all["marks"] = strings_(names)
	}
	if len(k.queue) > 0 {
		var pairs []interface{}
		for rest := k.copy(); len(rest.queue) > 0; {
			m := rest.first()
			pairs = append(pairs, []interface{}{m, rest.queue[m]})
			delete(rest.queue, m)
		}
		all["queue"] = pairs
	}
	if k.card != nil {
		all["card"] = map[string]interface{}{"n": *k.card}
	}
	if len(k.lanes) > 0 {
		lanes := map[string]interface{}{}
		for name, lane := range k.lanes {
			lanes[name] = strings_(lane)
		}
		all["lanes"] = lanes
	}
	if len(k.rows) > 0 {
		dict := map[string]interface{}{}
		for name, rows := range k.rows {
			list := []interface{}{}
			for _, r := range rows {
				list = append(list, map[string]interface{}{"@pk": r.pk, "n": r.n})
			}
			dict[name] = list
		}
		all["rows"] = dict
	}
	if k.code != "" {
		all["code"] = k.code
	}
}

func strings_(names []string) []interface{} {
	list := []interface{}{}
	for _, name := range names {
		list = append(list, name)
	}
	return list
}

func (k *kinds) save(m map[string]interface{}) {
	if marks, ok := m["marks"]; ok {
		for _, name := range marks.([]interface{}) {
			k.marks[name.(string)] = true
		}
	}
	if card, ok := m["card"].(map[string]interface{}); ok {
		n := card["n"].(float64)
		k.card = &n
	}
}

func pathOf(args []interface{}) string {
	if len(args) == 0 {
		return ""
	}
	path, _ := args[0].(string)
	return path
}

// change: done is false where the path is of another kind.
func (k *kinds) change(method, path string, args []interface{}) (result interface{}, code string, done bool) {
	switch path {
	case "marks":
		result, code = k.changeMarks(method, args[0].(string))
	case "queue":
		result, code = k.changeQueue(method, args)
	case "card":
		k.card = nil
		if card, ok := args[0].(map[string]interface{}); ok {
			n := card["n"].(float64)
			k.card = &n
		}
		result = anything{}
	case "card.n":
		if k.card == nil {
			return nil, "NOT_FOUND", true
		}
		*k.card += args[0].(float64)
		result = *k.card
	case "lanes": // dict.set to an empty list
		k.lanes[args[0].(string)] = nil
		result = anything{}
	case "rows":
		k.rows[args[0].(string)] = nil
		result = anything{}
	case `lanes["a"]`, `lanes["b"]`: // list.append
		name := path[7:8]
		if _, there := k.lanes[name]; !there {
			return nil, "NOT_FOUND", true
		}
		k.lanes[name] = append(k.lanes[name], args[0].(string))
		result = float64(len(k.lanes[name]))
	case `rows["a"]`, `rows["b"]`: // list.append
		name, element := path[6:7], args[0].(map[string]interface{})
		if _, there := k.rows[name]; !there {
			return nil, "NOT_FOUND", true
		}
		k.rows[name] = append(k.rows[name], row{element["@pk"].(string), element["n"].(float64)})
		result = float64(len(k.rows[name]))
	case `rows["a"][0].n`, `rows["b"][0].n`: // num.incr
		rows, there := k.rows[path[6:7]]
		if !there {
			return nil, "NOT_FOUND", true
		}
		if len(rows) == 0 {
			return nil, "OUT_OF_RANGE", true
		}
		rows[0].n += args[0].(float64)
		result = rows[0].n
	case "code":
		k.code, _ = args[0].(string)
		result = anything{}
	default:
		return nil, "", false
	}
	return result, code, true
}

func (k *kinds) changeMarks(method, mark string) (interface{}, string) {
	there := k.marks[mark]
	switch method {
	case "set.add":
		k.marks[mark] = true
		return count(!there), ""
	case "set.remove":
		delete(k.marks, mark)
		return count(there), ""
	case "set.has":
		return there, ""
	}
	panic("the model has no " + method)
}

func (k *kinds) changeQueue(method string, args []interface{}) (interface{}, string) {
	switch method {
	case "sorted.push":
		_, there := k.queue[args[0].(string)]
		k.queue[args[0].(string)] = args[1].(float64)
		return count(!there), ""
	case "sorted.incr":
		k.queue[args[0].(string)] += args[1].(float64)
		return k.queue[args[0].(string)], ""
	case "sorted.pop_min":
		m := k.first()
		if m == "" {
			return nil, "NOT_FOUND"
		}
		score := k.queue[m]
		delete(k.queue, m)
		return []interface{}{m, score}, ""
	}
	panic("the model has no " + method)
}

func count(one bool) float64 {
	if one {
		return 1
	}
	return 0
}

// taken: another document has this code.
func taken(s state, key string, code interface{}) bool {
	for other, d := range s {
		if other != key && d.code != "" && d.code == code {
			return true
		}
	}
	return false
}

// holds: the condition on a document, nil where there is none.
func holds(d *doc, path string, tests map[string]interface{}) bool {
	if want, asked := tests["exists"]; asked && path == "" {
		return want.(bool) == (d != nil)
	}
	if d == nil {
		return false
	}
	value := d.n
	if path == "card.n" {
		if d.card == nil {
			return false
		}
		value = *d.card
	}
	for test, want := range tests {
		n := want.(float64)
		if (test == "==" && value != n) || (test == ">=" && value < n) || (test == "<" && value >= n) {
			return false
		}
	}
	return true
}
