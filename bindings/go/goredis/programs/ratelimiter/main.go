// Ratelimiter limits requests per user: a fixed window by INCR, a sliding window by a sorted set in a
// transaction, and a token bucket by a script.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

type limiter struct{ rdb *redis.ClusterClient }

// fixedWindow allows limit requests in each window.
func (l *limiter) fixedWindow(ctx context.Context, user string, limit int64, window time.Duration) (bool, error) {
	key := "limit:fixed:{" + user + "}"
	var count *redis.IntCmd
	_, err := l.rdb.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		count = pipe.Incr(ctx, key)
		pipe.ExpireNX(ctx, key, window)
		return nil
	})
	return err == nil && count.Val() <= limit, err
}

// slidingWindow allows limit requests in any time of that length.
func (l *limiter) slidingWindow(ctx context.Context, user, request string, limit int64, window time.Duration) (bool, error) {
	key := "limit:sliding:{" + user + "}"
	now := time.Now()
	allowed := false
	try := func(tx *redis.Tx) error {
		old := strconv.FormatInt(now.Add(-window).UnixNano(), 10)
		if err := tx.ZRemRangeByScore(ctx, key, "-inf", old).Err(); err != nil {
			return err
		}
		n, err := tx.ZCard(ctx, key).Result()
		if err != nil {
			return err
		}
		if allowed = n < limit; !allowed {
			return nil
		}
		_, err = tx.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
			pipe.ZAdd(ctx, key, redis.Z{Score: float64(now.UnixNano()), Member: request})
			pipe.PExpire(ctx, key, window)
			return nil
		})
		return err
	}
	for {
		err := l.rdb.Watch(ctx, try, key)
		if !errors.Is(err, redis.TxFailedErr) {
			return allowed && err == nil, err
		}
	}
}

var bucket = redis.NewScript(`
local tokens = tonumber(redis.call('HGET', KEYS[1], 'tokens') or ARGV[1])
if tokens < 1 then
  return {0, tostring(tokens)}
end
redis.call('HSET', KEYS[1], 'tokens', tokens - 1)
redis.call('EXPIRE', KEYS[1], 60)
return {1, tostring(tokens - 1)}
`)

// tokenBucket takes a token from the user's bucket.
func (l *limiter) tokenBucket(ctx context.Context, user string, size int) (bool, string, error) {
	reply, err := bucket.Run(ctx, l.rdb, []string{"limit:bucket:{" + user + "}"}, size).Slice()
	if err != nil {
		return false, "", err
	}
	return reply[0].(int64) == 1, reply[1].(string), nil
}

func main() {
	ctx := context.Background()
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: strings.Split(os.Getenv("ADDRS"), ",")})
	defer rdb.Close()
	l := &limiter{rdb}
	for _, kind := range []string{"fixed", "sliding", "bucket"} {
		rdb.Del(ctx, "limit:"+kind+":{ada}")
	}
	var fixed, sliding atomic.Int64
	var all sync.WaitGroup
	for i := 0; i < 20; i++ {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			if ok, err := l.fixedWindow(ctx, "ada", 5, time.Minute); err != nil {
				log.Print(err)
			} else if ok {
				fixed.Add(1)
			}
			if ok, err := l.slidingWindow(ctx, "ada", fmt.Sprint("request ", i), 7, time.Minute); err != nil {
				log.Print(err)
			} else if ok {
				sliding.Add(1)
			}
		}(i)
	}
	all.Wait()
	fmt.Println("fixed window:", fixed.Load(), "sliding window:", sliding.Load())
	for i := 0; i < 3; i++ {
		fmt.Println(l.tokenBucket(ctx, "ada", 2))
	}
}
