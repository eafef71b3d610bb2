// Anywhere is one program for every kind of server: only the URL differs.
//
//	anywhere redis://127.0.0.1:7000        (or the URL in RDC_URL)
//	anywhere unix:///run/redis.sock        (docs/endpoints.md has more)
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
)

func main() {
	url := os.Getenv("RDC_URL")
	if len(os.Args) > 1 {
		url = os.Args[1]
	}
	ctx := context.Background()
	client, err := rediscluster.New(url, rediscluster.WithOption("read_your_writes", "yes"))
	check(err)
	defer client.Close()

	// Keys with the same text in braces are in the same slot of a cluster.
	set, err := client.Do(ctx, "MSET", "{fruit}:apples", 3, "{fruit}:pears", 4)
	check(err)
	fmt.Println(text(set))
	counts, err := client.Pipeline().Do("INCRBY", "{fruit}:apples", 2).Do("DECRBY", "{fruit}:pears", 1).ExecAtomic(ctx)
	check(err)
	fmt.Println(counts[0], counts[1])
	pipeline := client.Pipeline().Set("anywhere:a", "one").Set("anywhere:b", "two")
	values, err := pipeline.Get("anywhere:a").Get("anywhere:b").Exec(ctx)
	check(err)
	fmt.Println(text(values[2]), text(values[3]))

	// Reads from replicas that have what this program has written.
	readonly, err := client.Readonly()
	check(err)
	defer readonly.Close()
	apples, err := readonly.Get(ctx, "{fruit}:apples")
	check(err)
	fmt.Println(apples)
}

func text(value rediscluster.Value) string {
	text, err := value.Text()
	check(err)
	return text
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
