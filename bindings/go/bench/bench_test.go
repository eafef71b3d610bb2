package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

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
	all, err := clients()
	if err != nil {
		b.Fatal(err)
	}
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
	all, err := clients()
	if err != nil {
		b.Fatal(err)
	}
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
