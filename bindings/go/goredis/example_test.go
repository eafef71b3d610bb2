package goredis_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
	"github.com/librediscluster/librediscluster/bindings/go/goredis"
	"github.com/redis/go-redis/v9"
)

func Example() {
	ctx := context.Background()
	rdb, err := goredis.New(os.Getenv("RDC_URL")) // redis://127.0.0.1:7000
	if err != nil {
		log.Fatal(err)
	}
	defer rdb.Close()
	if err := rdb.Set(ctx, "foo16706", "bar", time.Minute).Err(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(rdb.Get(ctx, "foo16706").Result())
	fmt.Println(rdb.Get(ctx, "no such key").Err() == redis.Nil)
	// Output:
	// bar <nil>
	// true
}

// A read-only client of the same connections: reads go to a random node of each slot.
func ExampleFrom() {
	ctx := context.Background()
	rc, err := rediscluster.New(os.Getenv("RDC_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer rc.Close()
	readonly, err := rc.Readonly()
	if err != nil {
		log.Fatal(err)
	}
	defer readonly.Close()
	rdb := goredis.From(readonly)
	defer rdb.Close()
	err = rdb.Set(ctx, "foo", "bar", 0).Err()
	fmt.Println(errors.Is(err, rediscluster.ErrReadOnly))
	// Output: true
}

// An error tells whether the command was sent.
func ExampleClusterClient() {
	ctx := context.Background()
	rdb, err := goredis.New(os.Getenv("RDC_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer rdb.Close()
	_, err = rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Incr(ctx, "a")
		p.Incr(ctx, "b")
		return nil
	})
	var e *rediscluster.Error
	if errors.As(err, &e) {
		fmt.Println(e.Code, e.Sent, errors.Is(err, redis.ErrCrossSlot))
	}
	// Output: CROSSSLOT false true
}

func ExampleClusterClient_ForEachMaster() {
	ctx := context.Background()
	rdb, err := goredis.New(os.Getenv("RDC_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer rdb.Close()
	err = rdb.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		return node.Ping(ctx).Err()
	})
	fmt.Println(err)
	// Output: <nil>
}

func ExampleClusterClient_SetCredentials() {
	rdb, err := goredis.New(os.Getenv("RDC_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer rdb.Close()
	err = rdb.SetCredentials("a user without a password", "")
	fmt.Println(errors.Is(err, rediscluster.ErrInvalid))
	// Output: true
}
