package rediscluster

import (
	"context"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// gather sends the commands of many goroutines together.
//
// A call into C holds a thread until it returns, and threads that wait there cost the scheduler
// more than the commands themselves. So only a few calls are made at once. Who finds one to spare
// calls for itself, as if it were alone; the others queue. When a call ends and somebody is in the
// queue, a ferry starts: a goroutine that takes all who wait across in one pipeline, again and
// again, until nobody waits. Waiting in Go, they can leave when their context says so.
//
// Those in one boat arrive together. If one of them waits for a node that is silent the others wait
// with it, but those who come later do not: while any crossing is stalled, and for a while after,
// everybody goes alone, which is dearer but in nobody's way.
type gather struct {
	client *Client

	lock   sync.Mutex
	queues [2]queue // of those without a deadline of their own, and those with one
	rides  int      // the crossings under way; the list has them by their beginning
	oldest *ride
	newest *ride

	watch    *time.Timer // ticks while somebody might wait
	watching bool
	busy     bool // somebody has queued since the last tick
	tick     uint64
	apart    uint64 // everybody goes alone before this tick
}

// ride is a crossing under way.
type ride struct {
	earlier, later *ride
	tick           uint64 // when it began
}

// queue is commands that wait for a ferry.
type queue struct{ first, last *command }

const (
	// With one crossing at a time the servers would idle while replies are converted; with more
	// than two, the boats go half empty.
	maxRides = 2
	// What fits in a boat.
	maxBatch = 512
	// A crossing that has seen two ticks has stalled.
	tickTime = 20 * time.Millisecond
	// After a stall everybody goes on alone for so many ticks: a node that was silent once often is
	// again in the next attempt.
	aftermath = 10
)

// byItself is what a queueing command is told that should not wait for company.
const byItself Kind = -1

// run runs a command, by itself or with others, and frees it.
func (g *gather) run(ctx context.Context, cmd *command) Value {
	g.lock.Lock()
	if g.rides >= maxRides && g.tick >= g.apart {
		g.join(cmd)
		g.lock.Unlock()
		v, left := g.wait(ctx, cmd)
		if left {
			return v // its ferry may not have finished with the command
		}
		if v.kind != byItself {
			cmd.free()
			return v
		}
		g.lock.Lock()
	}
	g.begin(&cmd.ride)
	g.lock.Unlock()
	v := g.client.alone(ctx, cmd)
	g.lock.Lock()
	g.end(&cmd.ride)
	if g.rides < maxRides && g.waiting() {
		f := &ferry{gather: g}
		g.begin(&f.ride)
		f.board()
		g.lock.Unlock()
		go f.sail()
	} else {
		g.lock.Unlock()
	}
	cmd.free()
	return v
}

// wait waits for what becomes of a command in the queue, unless its context is done first.
func (g *gather) wait(ctx context.Context, cmd *command) (v Value, left bool) {
	done := ctx.Done()
	if done == nil {
		return <-cmd.fate, false
	}
	select {
	case v = <-cmd.fate:
	case <-done:
		g.lock.Lock()
		queued := cmd.queue != nil
		if queued {
			cmd.queue.remove(cmd)
		}
		g.lock.Unlock()
		if !queued {
			select {
			case v = <-cmd.fate:
			default:
				return failed(ended(ctx.Err(), true)), true
			}
			break
		}
		return failed(ended(ctx.Err(), false)), true
	}
	if v.err != nil {
		v.err = g.client.blame(ctx, v.err)
	}
	return v, false
}

func (g *gather) begin(r *ride) {
	r.tick, r.later, r.earlier = g.tick, nil, g.newest
	if g.newest == nil {
		g.oldest = r
	} else {
		g.newest.later = r
	}
	g.newest = r
	g.rides++
}

func (g *gather) end(r *ride) {
	if r.earlier == nil {
		g.oldest = r.later
	} else {
		r.earlier.later = r.later
	}
	if r.later == nil {
		g.newest = r.earlier
	} else {
		r.later.earlier = r.earlier
	}
	g.rides--
}

func (g *gather) waiting() bool { return g.queues[0].first != nil || g.queues[1].first != nil }

// join puts a command in a queue.
func (g *gather) join(cmd *command) {
	if cmd.deadline.IsZero() {
		g.queues[0].append(cmd)
	} else {
		g.queues[1].append(cmd)
	}
	g.busy = true
	if !g.watching {
		g.watching = true
		if g.watch == nil {
			g.watch = time.AfterFunc(tickTime, g.look)
		} else {
			g.watch.Reset(tickTime)
		}
	}
}

// look is called at every tick. Nobody waits behind a crossing that has stalled.
func (g *gather) look() {
	g.lock.Lock()
	defer g.lock.Unlock()
	g.tick++
	if g.oldest != nil && g.tick-g.oldest.tick >= 2 {
		g.apart = g.tick + aftermath
		for i := range g.queues {
			for q := &g.queues[i]; q.first != nil; {
				q.pop().fate <- Value{kind: byItself}
			}
		}
	}
	if g.watching = g.busy || g.tick < g.apart; g.watching {
		g.watch.Reset(tickTime)
	}
	g.busy = g.waiting()
}

func (q *queue) append(cmd *command) {
	cmd.queue, cmd.prev, cmd.next = q, q.last, nil
	if q.last == nil {
		q.first = cmd
	} else {
		q.last.next = cmd
	}
	q.last = cmd
}

func (q *queue) remove(cmd *command) {
	if cmd.prev == nil {
		q.first = cmd.next
	} else {
		cmd.prev.next = cmd.next
	}
	if cmd.next == nil {
		q.last = cmd.prev
	} else {
		cmd.next.prev = cmd.prev
	}
	cmd.queue, cmd.prev, cmd.next = nil, nil, nil
}

func (q *queue) pop() *command {
	cmd := q.first
	q.remove(cmd)
	return cmd
}

// ferry is a goroutine that takes others' commands across.
type ferry struct {
	ride
	gather *gather
	turn   int // which queue is next
	buf    []byte
	out    out
	aboard []*command
	until  time.Time // the last deadline of those aboard; zero without any
}

// board lets those aboard who wait, of one queue; under the lock.
func (f *ferry) board() {
	f.turn ^= 1
	if f.gather.queues[f.turn].first == nil {
		f.turn ^= 1
	}
	f.aboard, f.buf, f.until = f.aboard[:0], f.buf[:0], time.Time{}
	for q := &f.gather.queues[f.turn]; q.first != nil && len(f.aboard) < maxBatch; {
		cmd := q.pop()
		f.aboard = append(f.aboard, cmd)
		f.buf = append(f.buf, cmd.buf...)
		if cmd.deadline.After(f.until) {
			f.until = cmd.deadline
		}
	}
}

func (f *ferry) sail() {
	g := f.gather
	for more := true; more; {
		f.cross()
		// Those who have just arrived may have more to send, and are let to before the next trip.
		runtime.Gosched()
		g.lock.Lock()
		g.end(&f.ride)
		if more = g.rides < maxRides && g.waiting(); more {
			g.begin(&f.ride)
			f.board()
		}
		g.lock.Unlock()
	}
}

// cross takes all aboard across, and tells each its reply.
func (f *ferry) cross() {
	c := f.gather.client
	h := c.handle
	if !f.until.IsZero() {
		timeout := roundTimeout(time.Until(f.until))
		h = c.twins.take(h, timeout)
		defer c.twins.give(h, timeout)
	}
	if len(f.aboard) == 1 {
		f.aboard[0].fate <- f.aboard[0].direct(h)
		return
	}
	nativePipeline(h, f.buf, false, &f.out)
	told := 0
	whole := takeEach(&f.out, true, func(i int, v Value) {
		if e := v.err; e != nil {
			if !e.Sent && (e.Code == ErrInvalid || e.Code == ErrReadOnly || outOfTurn(e)) {
				// Refused, or in the company of one that was, or held back for the sake of an order that
				// is nobody's here: what it is by itself will show.
				v = Value{kind: byItself}
			} else {
				e.Message = withoutTitle(e.Message, i)
			}
		}
		f.aboard[i].fate <- v
		told = i + 1
	})
	for _, cmd := range f.aboard[told:] {
		cmd.fate <- whole
	}
}

// outOfTurn says whether a command did not run because one behind or before it in the boat has or
// might have: a pipeline keeps the order of a slot's commands. These come from different goroutines,
// and have none.
func outOfTurn(e *Error) bool {
	for _, words := range outOfTurnWords {
		if strings.Contains(e.Message, words) {
			return true
		}
	}
	return false
}

// What the library says then; a test looks for it there.
var outOfTurnWords = []string{"(not sent again: a later ", " was not sent: an earlier write "}

// withoutTitle takes away "Command # 2 (SET foo) of pipeline: ": it was nobody's pipeline.
func withoutTitle(message string, i int) string {
	const end = ") of pipeline: "
	if strings.HasPrefix(message, "Command # "+strconv.Itoa(i+1)+" (") {
		if at := strings.Index(message, end); at >= 0 {
			return message[at+len(end):]
		}
	}
	return message
}
