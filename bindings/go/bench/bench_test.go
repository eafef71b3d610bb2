// Package bench compares the binding with clients written in Go. It is a separate module, so that the
// binding has no dependencies.
//
//	cluster run -- go test -bench . -benchtime 20000x
package bench

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

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

func clients(b *testing.B) []client {
	ours, err := rediscluster.New(os.Getenv("RDC_URL"))
	if err != nil {
		b.Fatal(err)
	}
	seeds := strings.Split(os.Getenv("RDC_SEEDS"), ",")
	theirs := redis.NewClusterClient(&redis.ClusterOptions{Addrs: seeds})
	rue, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: seeds, DisableCache: true})
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range names {
		if err := ours.Set(context.Background(), name, "0123456789abcdef"); err != nil {
			b.Fatal(err)
		}
	}
	return []client{
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
}

// cpu returns the CPU time that this process has used.
func cpu() time.Duration {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// inParallel runs b.N operations on a number of goroutines.
func inParallel(b *testing.B, goroutines int, f func(i int64) error) {
	b.ReportAllocs()
	var next atomic.Int64
	var all sync.WaitGroup
	begun := cpu()
	b.ResetTimer()
	for g := 0; g < goroutines; g++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := f(i); err != nil {
					b.Error(err)
					return
				}
			}
		}()
	}
	all.Wait()
	b.ReportMetric(float64(cpu()-begun)/float64(b.N)/1e3, "cpu-us/op")
}

func BenchmarkGet(b *testing.B) {
	all := clients(b)
	cancellable, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, goroutines := range []int{1, 2, 8, 64, 512} {
		for _, kind := range []struct {
			name string
			ctx  context.Context
		}{{"background", context.Background()}, {"cancellable", cancellable}} {
			for _, c := range all {
				b.Run(fmt.Sprintf("%d/%s/%s", goroutines, kind.name, c.name), func(b *testing.B) {
					inParallel(b, goroutines, func(i int64) error { return c.get(kind.ctx, key(i)) })
				})
			}
		}
	}
	for _, c := range all {
		c.close()
	}
}

// One operation is one GET.
func BenchmarkPipeline(b *testing.B) {
	all := clients(b)
	for _, size := range []int{10, 100, 1000, 10000} {
		wanted := make([]string, size)
		for i := range wanted {
			wanted[i] = key(int64(i))
		}
		for _, c := range all {
			b.Run(fmt.Sprintf("%d/%s", size, c.name), func(b *testing.B) {
				b.ReportAllocs()
				begun := cpu()
				for done := 0; done < b.N; done += size {
					if err := c.pipe(context.Background(), wanted); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(cpu()-begun)/float64(b.N)/1e3, "cpu-us/op")
			})
		}
	}
	for _, c := range all {
		c.close()
	}
}
