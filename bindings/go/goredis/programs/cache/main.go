// Cache is a read-through cache in front of a slow store: one loader per key, negative entries, batches.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

type product struct {
	ID    int     `json:"id"`
	Name  string  `json:"name"`
	Price float64 `json:"price"`
}

var errNotFound = errors.New("no such product")

// store is the slow database behind the cache.
type store struct{ loads atomic.Int64 }

func (s *store) load(id int) (product, error) {
	s.loads.Add(1)
	if id > 100 {
		return product{}, errNotFound
	}
	return product{ID: id, Name: fmt.Sprint("product ", id), Price: float64(id) + 0.5}, nil
}

type cache struct {
	rdb   *redis.ClusterClient
	store *store
}

func key(id int) string { return fmt.Sprintf("cache:product:{%d}", id) }

// get returns a product from the cache, or loads it. One caller at a time loads a product.
func (c *cache) get(ctx context.Context, id int) (product, error) {
	for {
		var p product
		text, err := c.rdb.Get(ctx, key(id)).Result()
		switch {
		case err == nil && text == "none":
			return p, errNotFound
		case err == nil:
			return p, json.Unmarshal([]byte(text), &p)
		case !errors.Is(err, redis.Nil):
			return p, err
		}
		first, err := c.rdb.SetNX(ctx, key(id)+":loading", "1", time.Second).Result()
		if err != nil {
			return p, err
		}
		if first && c.rdb.Exists(ctx, key(id)).Val() == 0 { // it may have been loaded since
			return c.load(ctx, id)
		}
		if first {
			c.rdb.Del(ctx, key(id)+":loading")
			continue
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (c *cache) load(ctx context.Context, id int) (product, error) {
	p, loadErr := c.store.load(id)
	text := "none"
	if loadErr == nil {
		encoded, err := json.Marshal(p)
		if err != nil {
			return p, err
		}
		text = string(encoded)
	}
	pipe := c.rdb.Pipeline()
	pipe.Set(ctx, key(id), text, time.Minute)
	pipe.Del(ctx, key(id)+":loading")
	if _, err := pipe.Exec(ctx); err != nil {
		return p, err
	}
	return p, loadErr
}

// cached returns which of the products are in the cache, with one round trip.
func (c *cache) cached(ctx context.Context, ids ...int) (int, error) {
	cmds, err := c.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, id := range ids {
			pipe.Exists(ctx, key(id))
		}
		return nil
	})
	n := 0
	for _, cmd := range cmds {
		n += int(cmd.(*redis.IntCmd).Val())
	}
	return n, err
}

func main() {
	ctx := context.Background()
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: strings.Split(os.Getenv("ADDRS"), ",")})
	defer rdb.Close()
	c := &cache{rdb: rdb, store: &store{}}
	for _, id := range []int{1, 2, 1000} {
		rdb.Del(ctx, key(id), key(id)+":loading")
	}
	results := make(chan string)
	for i := 0; i < 20; i++ {
		go func() {
			p, err := c.get(ctx, 1)
			results <- fmt.Sprint(p, err)
		}()
	}
	for i := 0; i < 20; i++ {
		if got := <-results; got != "{1 product 1 1.5} <nil>" {
			log.Fatal(got)
		}
	}
	fmt.Println(c.get(ctx, 2))
	fmt.Println(c.get(ctx, 1000))
	fmt.Println(c.get(ctx, 1000))
	fmt.Println("loads:", c.store.loads.Load())
	fmt.Println(c.cached(ctx, 1, 2, 3))
	fmt.Println("expires:", rdb.TTL(ctx, key(1)).Val() > 50*time.Second)
}
