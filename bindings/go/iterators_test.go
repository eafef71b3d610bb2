//go:build go1.23

package rediscluster_test

import (
	"context"
	"fmt"
	"log/slog"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
)

func TestIteratorsVisitAllElements(t *testing.T) {
	rc := connect(t)
	p := rc.Pipeline()
	for i := 0; i < 300; i++ {
		p.Set(fmt.Sprint("iterated:", i), i).HSet("{i}hash", fmt.Sprint("f", i), i).SAdd("{i}set", i).ZAdd("{i}sorted", i, i)
	}
	_, err := p.Exec(bg)
	must(t, err)
	keys := map[string]bool{}
	for key, err := range rc.ScanKeys(bg, "iterated:*", "COUNT", 50) {
		must(t, err)
		keys[key] = true
	}
	same(t, len(keys), 300)
	sum := 0
	for field, err := range rc.ScanHash(bg, "{i}hash", "COUNT", 50) {
		must(t, err)
		same(t, field.Name, "f"+field.Value)
		sum++
	}
	members := map[string]bool{}
	for member, err := range rc.ScanSet(bg, "{i}set") {
		must(t, err)
		members[member] = true
	}
	for scored, err := range rc.ScanSorted(bg, "{i}sorted") {
		must(t, err)
		same(t, fmt.Sprint(scored.Score), scored.Member)
		delete(members, scored.Member)
	}
	same(t, []int{sum, len(members)}, []int{300, 0})
	n := 0
	for range rc.ScanKeys(bg, "") {
		if n++; n == 3 {
			break
		}
	}
	same(t, n, 3)
	ctx, cancel := context.WithCancel(bg)
	cancel()
	for key, err := range rc.ScanKeys(ctx, "") {
		same(t, key, "")
		fails(t, err, rediscluster.ErrInterrupted)
		n++
	}
	same(t, n, 4)
}

func TestMessagesIterateUntilContextEnds(t *testing.T) {
	rc := connect(t)
	sub := rc.SSubscribe(bg, "iterated")
	defer sub.Close()
	_, err := sub.Receive(within(t, 5*time.Second))
	must(t, err)
	ctx, cancel := context.WithCancel(within(t, 10*time.Second))
	defer cancel()
	for i := 0; i < 5; i++ {
		_, err := rc.SPublish(bg, "iterated", i)
		must(t, err)
	}
	var got []string
	for message, err := range sub.Messages(ctx) {
		must(t, err)
		if got = append(got, message.Payload); len(got) == 5 {
			cancel()
		}
	}
	same(t, strings.Join(got, ""), "01234")
}

// records is a handler that keeps the messages.
type records struct {
	slog.Handler
	lock sync.Mutex
	seen []string
}

func (r *records) Handle(_ context.Context, record slog.Record) error {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.seen = append(r.seen, record.Level.String()+" "+record.Message)
	return nil
}

func TestLoggerGetsMessagesOfItsLevel(t *testing.T) {
	defer rediscluster.SetLogger(nil)
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelError} {
		r := &records{Handler: slog.NewTextHandler(nil, &slog.HandlerOptions{Level: level})}
		rediscluster.SetLogger(slog.New(r))
		rc := connect(t)
		must(t, rc.Refresh())
		rc.Close()
		r.lock.Lock()
		sort.Strings(r.seen)
		all := strings.Join(r.seen, "\n")
		r.lock.Unlock()
		if level == slog.LevelDebug && !strings.Contains(all, "DEBUG ") || level == slog.LevelError && strings.Contains(all, "DEBUG ") {
			t.Errorf("%v: %s", level, all)
		}
	}
}
