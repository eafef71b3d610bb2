// Workqueue has two queues: one of lists, where a job is moved to the worker's list until it is done, and one
// of a stream with a consumer group, where jobs of a worker that has crashed are claimed by another.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	pending = "{jobs}:pending"
	stream  = "{jobs}:stream"
	group   = "workers"
)

// listWorker takes jobs until there are none, and returns how many it has done.
func listWorker(ctx context.Context, rdb *redis.ClusterClient, name string, work func(job string) error) (int, error) {
	mine := "{jobs}:doing:" + name
	for done := 0; ; {
		job, err := rdb.BLMove(ctx, pending, mine, "RIGHT", "LEFT", time.Second).Result()
		if errors.Is(err, redis.Nil) {
			return done, nil
		}
		if err != nil {
			return done, err
		}
		if err := work(job); err != nil {
			// Back to the queue, and off the worker's list.
			_, err = rdb.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
				pipe.LRem(ctx, mine, 1, job)
				pipe.LPush(ctx, pending, job)
				return nil
			})
			if err != nil {
				return done, err
			}
			continue
		}
		if err := rdb.LRem(ctx, mine, 1, job).Err(); err != nil {
			return done, err
		}
		done++
	}
}

// streamWorker reads jobs of its group, and acknowledges them unless it crashes.
func streamWorker(ctx context.Context, rdb *redis.ClusterClient, name string, crash bool) ([]string, error) {
	var done []string
	for {
		streams, err := rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
			Group: group, Consumer: name, Streams: []string{stream, ">"}, Count: 10, Block: 50 * time.Millisecond,
		}).Result()
		if errors.Is(err, redis.Nil) {
			return done, nil
		}
		if err != nil || crash {
			return done, err
		}
		for _, message := range streams[0].Messages {
			done = append(done, message.Values["job"].(string))
			if err := rdb.XAck(ctx, stream, group, message.ID).Err(); err != nil {
				return done, err
			}
		}
	}
}

func main() {
	ctx := context.Background()
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: strings.Split(os.Getenv("ADDRS"), ",")})
	defer rdb.Close()
	rdb.Del(ctx, pending, stream, "{jobs}:doing:0", "{jobs}:doing:1")
	for i := 0; i < 30; i++ {
		rdb.LPush(ctx, pending, fmt.Sprint("job ", i))
		rdb.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: map[string]any{"job": fmt.Sprint("job ", i)}})
	}
	var total, failures atomic.Int64
	var all sync.WaitGroup
	for w := 0; w < 2; w++ {
		all.Add(1)
		go func(w int) {
			defer all.Done()
			done, err := listWorker(ctx, rdb, fmt.Sprint(w), func(string) error {
				if failures.Add(1) == 7 {
					return errors.New("this one fails once")
				}
				return nil
			})
			if err != nil {
				log.Print(err)
			}
			total.Add(int64(done))
		}(w)
	}
	all.Wait()
	fmt.Println("list:", total.Load(), "left:", rdb.LLen(ctx, pending).Val(), rdb.Exists(ctx, "{jobs}:doing:0", "{jobs}:doing:1").Val())

	if err := rdb.XGroupCreate(ctx, stream, group, "0").Err(); err != nil {
		log.Fatal(err)
	}
	if _, err := streamWorker(ctx, rdb, "crashes", true); err != nil {
		log.Fatal(err)
	}
	done, err := streamWorker(ctx, rdb, "works", false)
	fmt.Println("stream:", len(done), err, "pending:", rdb.XPending(ctx, stream, group).Val().Count)
	claimed, _, err := rdb.XAutoClaim(ctx, &redis.XAutoClaimArgs{Stream: stream, Group: group, Consumer: "works", Start: "0", Count: 100}).Result()
	fmt.Println("claimed:", len(claimed), claimed[0].Values["job"], err)
}
