package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
)

// client is one of the compared clients: a GET, and GETs in a pipeline.
type client struct {
	name  string
	get   func(ctx context.Context, key string) error
	pipe  func(ctx context.Context, keys []string) error
	close func()
}

const keys = 1000

func key(i int64) string { return names[i%keys] }

var names = func() (all [keys]string) {
	for i := range all {
		all[i] = fmt.Sprint("bench:", i)
	}
	return
}()

// clients connects all clients to the cluster of RDC_URL and RDC_SEEDS, and stores the keys.
func clients() ([]client, error) {
	ours, err := rediscluster.New(os.Getenv("RDC_URL"))
	if err != nil {
		return nil, err
	}
	seeds := strings.Split(os.Getenv("RDC_SEEDS"), ",")
	theirs := redis.NewClusterClient(&redis.ClusterOptions{Addrs: seeds})
	rue, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: seeds, DisableCache: true})
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if err := ours.Set(context.Background(), name, "0123456789abcdef"); err != nil {
			return nil, err
		}
	}
	all := []client{
		{"rediscluster", func(ctx context.Context, key string) error {
			_, err := ours.Get(ctx, key)
			return err
		}, func(ctx context.Context, keys []string) error {
			pipe := ours.Pipeline()
			for _, key := range keys {
				pipe.Get(key)
			}
			_, err := pipe.Exec(ctx)
			return err
		}, func() { ours.Close() }},
		{"go-redis", func(ctx context.Context, key string) error {
			return theirs.Get(ctx, key).Err()
		}, func(ctx context.Context, keys []string) error {
			pipe := theirs.Pipeline()
			for _, key := range keys {
				pipe.Get(ctx, key)
			}
			_, err := pipe.Exec(ctx)
			return err
		}, func() { theirs.Close() }},
		{"rueidis", func(ctx context.Context, key string) error {
			return rue.Do(ctx, rue.B().Get().Key(key).Build()).Error()
		}, func(ctx context.Context, keys []string) error {
			commands := make(rueidis.Commands, 0, len(keys))
			for _, key := range keys {
				commands = append(commands, rue.B().Get().Key(key).Build())
			}
			for _, reply := range rue.DoMulti(ctx, commands...) {
				if err := reply.Error(); err != nil {
					return err
				}
			}
			return nil
		}, rue.Close},
	}
	return all, nil
}
