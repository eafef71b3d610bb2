// Program rueidis runs the workloads of ../loop_worker.c with the Go client rueidis, which pipelines
// the commands of concurrent goroutines by itself.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/rueidis"
)

const (
	keys  = 100000
	value = 16
)

var (
	client   rueidis.Client
	keyState int
)

func nextKey() string {
	keyState = (keyState + 7919) % keys
	return fmt.Sprint("key:", keyState)
}

func cpu() time.Duration {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func check(result rueidis.RedisResult) error {
	text, err := result.ToString()
	if err == nil && len(text) != value {
		err = fmt.Errorf("unexpected reply %.100q", text)
	}
	return err
}

func get(key string) error {
	return check(client.Do(context.Background(), client.B().Get().Key(key).Build()))
}

// batch reads a number of keys in one call.
func batch(count int) error {
	if count == 1 {
		return get(nextKey())
	}
	commands := make(rueidis.Commands, 0, count)
	for i := 0; i < count; i++ {
		commands = append(commands, client.B().Get().Key(nextKey()).Build())
	}
	for _, result := range client.DoMulti(context.Background(), commands...) {
		if err := check(result); err != nil {
			return err
		}
	}
	return nil
}

// recorder records how long turns take, after some turns to warm up.
type recorder struct {
	begun, at time.Time
	used      time.Duration
	warmUp    int
	turns     []time.Duration
}

func newRecorder() *recorder {
	now := time.Now()
	return &recorder{begun: now, at: now, used: cpu(), warmUp: 3}
}

// endTurn reports whether the budget is not used up.
func (r *recorder) endTurn(budget time.Duration) bool {
	now := time.Now()
	if r.warmUp > 0 {
		r.warmUp--
		r.begun, r.used = now, cpu()
	} else {
		r.turns = append(r.turns, now.Sub(r.at))
	}
	r.at = now
	return now.Sub(r.begun) < budget
}

func (r *recorder) line(operations int) string {
	used := cpu() - r.used
	sort.Slice(r.turns, func(i, j int) bool { return r.turns[i] < r.turns[j] })
	n := len(r.turns)
	return fmt.Sprintf("ok %d %d %d %d %d", n*operations, r.at.Sub(r.begun), used, r.turns[n/2], r.turns[n-1-n/100])
}

func batches(budget time.Duration, count int) (string, error) {
	r := newRecorder()
	for goesOn := true; goesOn; goesOn = r.endTurn(budget) {
		if err := batch(count); err != nil {
			return "", err
		}
	}
	return r.line(count), nil
}

// inFlight runs a number of goroutines, each with one GET in flight. A turn is as many replies.
func inFlight(budget time.Duration, count int) (line string, failed error) {
	r := newRecorder()
	var lock sync.Mutex // of r, line and failed
	var replies atomic.Int64
	var stop atomic.Bool
	var all sync.WaitGroup
	for g := 0; g < count; g++ {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			for ; !stop.Load(); i += 7919 {
				err := get(fmt.Sprint("key:", i%keys))
				isTurn := replies.Add(1)%int64(count) == 0
				if err == nil && !isTurn {
					continue
				}
				lock.Lock()
				if err != nil {
					failed = err
					stop.Store(true)
				} else if line == "" && !r.endTurn(budget) {
					line = r.line(count)
					stop.Store(true)
				}
				lock.Unlock()
			}
		}(g * 97)
	}
	all.Wait()
	return line, failed
}

func answer(name string, budget time.Duration, arg int) (string, error) {
	switch name {
	case "in_flight":
		return inFlight(budget, arg)
	case "batch":
		return batches(budget, arg)
	}
	return "unsupported", nil
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: rueidis HOST:PORT,HOST:PORT,...")
		os.Exit(2)
	}
	var err error
	client, err = rueidis.NewClient(rueidis.ClientOption{InitAddress: strings.Split(os.Args[1], ","), DisableCache: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, "rueidis:", err)
		os.Exit(1)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var name string
		var budget, arg int
		line := "expected NAME BUDGET ARG"
		if _, err = fmt.Sscan(lines.Text(), &name, &budget, &arg); err == nil {
			line, err = answer(name, time.Duration(budget)*time.Millisecond, arg)
		}
		if err != nil {
			line = strings.ReplaceAll(err.Error(), "\n", " ")
		}
		fmt.Println(line)
	}
}
