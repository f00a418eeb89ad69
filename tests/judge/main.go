// judge: says of recorded histories whether they are linearizable.
//
// Each line of standard input is one history, as tests/integration/histories.py records it: what
// was asked, what was answered, and when. For each it prints "ok", "wrong" or "unknown" (the search
// took too long). The sequential model of documents is in model.go.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

// An operation whose outcome its client was not told has no Return: it may happen at any time
// after its Call, or never.
type entry struct {
	Client  int
	Call    int64
	Return  *int64
	Request []interface{}
	Result  interface{}
	Error   string
}

type history struct {
	Entries []entry
}

func operations(h history) []porcupine.Operation {
	var ops []porcupine.Operation
	for _, e := range h.Entries {
		end := int64(math.MaxInt64)
		if e.Return != nil {
			end = *e.Return
		}
		ops = append(ops, porcupine.Operation{
			ClientId: e.Client,
			Input:    e.Request,
			Call:     e.Call,
			Output:   outcome{e.Return == nil, e.Error, e.Result},
			Return:   end,
		})
	}
	return ops
}

func verdict(line []byte) string {
	var h history
	if err := json.Unmarshal(line, &h); err != nil {
		return "unreadable: " + err.Error()
	}
	switch porcupine.CheckOperationsTimeout(documents, operations(h), time.Minute) {
	case porcupine.Ok:
		return "ok"
	case porcupine.Illegal:
		return "wrong"
	}
	return "unknown"
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 1 {
			fmt.Println(verdict(line))
		}
		if err != nil {
			return
		}
	}
}
