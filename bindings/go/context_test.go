package rediscluster_test

import (
	"context"
	"errors"
	"testing"
	"time"

	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
)

func TestCancelledContextEndsOnlyItsOwnCall(t *testing.T) {
	rc := connect(t)
	ctx, cancel := context.WithCancel(bg)
	cancelled, other := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := rc.Do(ctx, "BLPOP", "{wait}1", 0)
		cancelled <- err
	}()
	go func() {
		v, err := rc.Do(bg, "BLPOP", "{wait}2", 0)
		if err == nil && v.String() != `["{wait}2" "x"]` {
			err = errors.New(v.String())
		}
		other <- err
	}()
	eventually(t, "both block", func() bool { return blocked(t, "{wait}1") == 2 })
	begun := time.Now()
	cancel()
	err := <-cancelled
	if took := time.Since(begun); took > 100*time.Millisecond {
		t.Fatal("cancelled after", took)
	}
	if e := fails(t, err, rediscluster.ErrInterrupted); !errors.Is(err, context.Canceled) || !e.Sent {
		t.Fatalf("%+v", e)
	}
	_, err = rc.Do(bg, "RPUSH", "{wait}2", "x")
	must(t, err)
	must(t, <-other)
	must(t, rc.Set(bg, "{wait}3", "usable"))
}

func TestContextDeadlineReplacesClientTimeout(t *testing.T) {
	rc := connect(t)
	must(t, rc.Set(bg, "late", 1))
	port := ctl(t, "primary-of", "key:late")
	cont := stop(t, port)
	ctx, cancel := context.WithTimeout(bg, 60*time.Millisecond)
	defer cancel()
	begun := time.Now()
	err := rc.Set(ctx, "late", 2)
	took := time.Since(begun)
	<-ctx.Done()
	_, pipelined := rc.Pipeline().Get("late").Exec(ctx)
	cont()
	e := fails(t, err, rediscluster.ErrTimeout)
	if !errors.Is(err, context.DeadlineExceeded) || !e.Sent || e.Node == "" || took < 50*time.Millisecond || took > 160*time.Millisecond {
		t.Fatalf("after %v: %+v", took, e)
	}
	if e := fails(t, pipelined, rediscluster.ErrTimeout); e.Sent {
		t.Fatalf("%+v", e)
	}
	// The server may still run the command when it resumes; the reply must not reach another command.
	must(t, rc.Set(bg, "late", 3))
	text, err := rc.Get(bg, "late")
	must(t, err)
	same(t, text, "3")
}

func TestContextDeadlineIsTheCauseWhenNoNodeCanBeReached(t *testing.T) {
	rc, err := rediscluster.New("redis://127.0.0.1:1", rediscluster.WithOption("lazy", "yes"))
	must(t, err)
	defer rc.Close()
	ctx, cancel := context.WithTimeout(bg, 60*time.Millisecond)
	defer cancel()
	_, err = rc.Get(ctx, "k")
	if e := fails(t, err, rediscluster.ErrConnect); !errors.Is(err, context.DeadlineExceeded) || e.Sent {
		t.Fatalf("%+v", e)
	}
}

func TestContextDeadlineMayExceedClientTimeout(t *testing.T) {
	rc := connect(t, rediscluster.WithTimeout(50*time.Millisecond))
	must(t, rc.Set(bg, "longer", 1))
	port := ctl(t, "primary-of", "key:longer")
	cont := stop(t, port)
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(bg, 30*time.Second)
	defer cancel()
	go func() {
		_, err := rc.Get(ctx, "longer")
		done <- err
	}()
	_, err := rc.Get(bg, "longer")
	fails(t, err, rediscluster.ErrTimeout)
	cont()
	must(t, <-done)
}

func TestDoneContextSendsNothing(t *testing.T) {
	rc := connect(t)
	ctx, cancel := context.WithCancel(bg)
	cancel()
	same(t, fails(t, rc.Set(ctx, "done", 1), rediscluster.ErrInterrupted).Sent, false)
	_, err := rc.Pipeline().Get("done").Exec(ctx)
	same(t, fails(t, err, rediscluster.ErrInterrupted).Sent, false)
	_, err = rc.Do(ctx, "BLPOP", "done", 0)
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestCancelledContextEndsPipeline(t *testing.T) {
	rc := connect(t)
	must(t, rc.Set(bg, "pipe", 1))
	port := ctl(t, "primary-of", "key:pipe")
	cont := stop(t, port)
	ctx, cancel := context.WithCancel(bg)
	timer := time.AfterFunc(20*time.Millisecond, cancel)
	defer timer.Stop()
	begun := time.Now()
	replies, err := rc.Pipeline().Get("pipe").Set("pipe", 2).Exec(ctx)
	took := time.Since(begun)
	cont()
	if !errors.Is(err, context.Canceled) || took > 120*time.Millisecond {
		t.Fatalf("after %v: %v %v", took, err, replies)
	}
	must(t, rc.Set(bg, "pipe", 3))
}
