package rediscluster_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

func TestKilledPrimaryUnderConcurrentWritesFailsOver(t *testing.T) {
	rc := connect(t)
	victim := ctl(t, "primary-of", "key:dies")
	must(t, rc.Set(bg, "dies", "before"))
	ctl(t, "wait-sync")
	var killed, after atomic.Int64
	ctx, cancel := context.WithTimeout(bg, 30*time.Second)
	defer cancel()
	go func() {
		ctl(t, "kill", victim)
		killed.Store(1)
	}()
	lost := atomic.Int64{}
	inParallel(t, 16, func(g int) error {
		key := fmt.Sprintf("{dies}%d", g)
		for after.Load() < 100 {
			afterKill := killed.Load() == 1
			// A write whose reply was lost is not sent again: the caller decides.
			if err := rc.Set(ctx, key, g); err != nil {
				lost.Add(1)
				if lost.Load() > 64 {
					return err
				}
				continue
			}
			if got, err := rc.Get(ctx, key); err != nil || got != fmt.Sprint(g) {
				return fmt.Errorf("%q: %v", got, err)
			}
			if afterKill {
				after.Add(1)
			}
		}
		return nil
	})
	t.Logf("%d writes failed with the node", lost.Load())
	if ctl(t, "primary-of", "key:dies") == victim {
		t.Fatal("the key is still served by the killed primary: no failover")
	}
	ctl(t, "restart", victim)
	ctl(t, "wait-healthy")
	must(t, rc.Set(bg, "dies", "after"))
}
