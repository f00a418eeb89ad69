// How old a read is after another connection's write was acknowledged, with the client-side cache of
// rueidis: how many rounds, and the socket of a Redis. Prints two lists, in us: from the acknowledgement
// to the end of the first read that sees the write, and of a read that is answered from the cache.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

const longest = time.Hour // that an entry may stay in the cache

func connect(path string) rueidis.Client {
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{"unix"},
		DialCtxFn: func(ctx context.Context, _ string, dialer *net.Dialer, _ *tls.Config) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		},
	})
	if err != nil {
		panic(err)
	}
	return client
}

func main() {
	rounds, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	writer, reader, ctx := connect(os.Args[2]), connect(os.Args[2]), context.Background()
	read := func() string {
		text, _ := reader.DoCache(ctx, reader.B().Get().Key("n").Cache(), longest).ToString()
		return text
	}
	var found, alone []float64
	for n := 0; n < rounds; n++ {
		text := strconv.Itoa(n)
		if err := writer.Do(ctx, writer.B().Set().Key("n").Value(text).Build()).Error(); err != nil {
			panic(err)
		}
		acknowledged := time.Now()
		for read() != text {
		}
		seen := time.Now()
		read()
		alone = append(alone, float64(time.Since(seen).Nanoseconds())/1e3)
		found = append(found, float64(seen.Sub(acknowledged).Nanoseconds())/1e3)
	}
	json.NewEncoder(os.Stdout).Encode([][]float64{found, alone})
}
