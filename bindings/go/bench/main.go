// Program bench compares the binding with clients written in Go, in the cluster of RDC_URL and
// RDC_SEEDS:
//
//	cluster run -- go run . [-json] [-work PATTERN] [ROUNDS]
//
// It is a separate module, so that the binding has no dependencies. The clients of a comparison
// alternate in short turns, so that other load on the machine affects both. Wall and CPU times are
// medians of the turns, per GET. The ratios are medians of the ratios within a round.
//
// `go test -bench .` measures allocations and more numbers of goroutines.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// work is one workload. A turn is a number of GETs by one client, and takes some 50 ms.
type work struct {
	name string
	turn func(c client) error
	gets int
}

const pipelineSize = 1000

var works = []work{
	{"GET", concurrent(1, 1000), 1000},
	{"GET by each of 64 goroutines", concurrent(64, 200), 64 * 200},
	{"pipeline of 1000", pipelines(50), 50 * pipelineSize},
}

// concurrent is a turn in which each goroutine reads a number of keys, one after the other.
func concurrent(goroutines, gets int) func(client) error {
	return func(c client) error {
		failed := make(chan error, goroutines)
		var all sync.WaitGroup
		for g := 0; g < goroutines; g++ {
			all.Add(1)
			go func(g int) {
				defer all.Done()
				for i := 0; i < gets; i++ {
					if err := c.get(context.Background(), key(int64(g*17+i))); err != nil {
						failed <- err
						return
					}
				}
			}(g)
		}
		all.Wait()
		close(failed)
		return <-failed
	}
}

func pipelines(count int) func(client) error {
	return func(c client) error {
		for i := 0; i < count; i++ {
			if err := c.pipe(context.Background(), names[:pipelineSize]); err != nil {
				return err
			}
		}
		return nil
	}
}

// cost is what one GET takes, in microseconds.
type cost struct{ wall, cpu float64 }

func cpu() time.Duration {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func (w work) measure(c client) (cost, error) {
	// The garbage of the turn before is not part of this one.
	runtime.GC()
	begun, used := time.Now(), cpu()
	err := w.turn(c)
	wall, used := time.Since(begun), cpu()-used
	per := float64(w.gets) * 1e3
	return cost{float64(wall) / per, float64(used) / per}, err
}

func median(values []float64) float64 {
	sort.Float64s(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// medianOf is the median of a value of all rounds.
func medianOf(rounds [][2]cost, of func([2]cost) float64) float64 {
	values := make([]float64, len(rounds))
	for i, pair := range rounds {
		values[i] = of(pair)
	}
	return median(values)
}

// compare measures two clients in turns; the one that begins changes with each round.
func (w work) compare(ours, theirs client, rounds int) ([][2]cost, error) {
	pairs := make([][2]cost, 0, rounds)
	sides := [2]client{ours, theirs}
	for i := -1; i < rounds; i++ { // the first round warms both up
		var pair [2]cost
		for k := range sides {
			side := (i + 1 + k) % 2
			var err error
			if pair[side], err = w.measure(sides[side]); err != nil {
				return nil, fmt.Errorf("%s, %s: %w", sides[side].name, w.name, err)
			}
		}
		if i >= 0 {
			pairs = append(pairs, pair)
		}
	}
	return pairs, nil
}

func report(w work, peer string, pairs [][2]cost, asJSON bool) error {
	row := map[string]any{
		"peer":       peer,
		"work":       w.name,
		"wall":       medianOf(pairs, func(p [2]cost) float64 { return p[0].wall }),
		"cpu":        medianOf(pairs, func(p [2]cost) float64 { return p[0].cpu }),
		"their_wall": medianOf(pairs, func(p [2]cost) float64 { return p[1].wall }),
		"their_cpu":  medianOf(pairs, func(p [2]cost) float64 { return p[1].cpu }),
		"ratio":      medianOf(pairs, func(p [2]cost) float64 { return p[1].wall / p[0].wall }),
		"cpu_ratio":  medianOf(pairs, func(p [2]cost) float64 { return p[1].cpu / p[0].cpu }),
	}
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(row)
	}
	_, err := fmt.Printf("%-30s wall %7.3f us  CPU %7.3f us   %-8s wall %7.3f us  CPU %7.3f us   x %.2f wall, %.2f CPU\n",
		w.name, row["wall"], row["cpu"], peer, row["their_wall"], row["their_cpu"], row["ratio"], row["cpu_ratio"])
	return err
}

// version is the version of a client, as it is linked into this program.
func version(name string) string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if strings.Contains(module.Path, "/"+name) {
			return strings.TrimPrefix(module.Version, "v")
		}
	}
	return ""
}

func run(wanted *regexp.Regexp, rounds int, asJSON bool) error {
	all, err := clients()
	if err != nil {
		return err
	}
	for _, w := range works {
		for _, theirs := range all[1:] {
			if !wanted.MatchString(w.name + " " + theirs.name) {
				continue
			}
			pairs, err := w.compare(all[0], theirs, rounds)
			if err != nil {
				return err
			}
			if err := report(w, theirs.name+" "+version(theirs.name), pairs, asJSON); err != nil {
				return err
			}
		}
	}
	for _, c := range all {
		c.close()
	}
	return nil
}

func main() {
	asJSON := flag.Bool("json", false, "print a line of JSON for each comparison")
	pattern := flag.String("work", "", "a regular expression: only comparisons whose \"WORK CLIENT\" matches it")
	flag.Parse()
	rounds := 15
	wanted, err := regexp.Compile(*pattern)
	if err == nil && flag.NArg() > 0 {
		rounds, err = strconv.Atoi(flag.Arg(0))
	}
	if err == nil {
		err = run(wanted, rounds, *asJSON)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
