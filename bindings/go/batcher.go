package rediscluster

import (
	"context"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// batcher combines the commands of concurrent goroutines into batches.
//
// A call into C occupies an OS thread until it returns, and threads blocked there cost the Go
// scheduler more than the commands themselves. The batcher therefore limits the number of
// concurrent calls to maxInFlight. Commands above that limit wait in a queue. When a call returns
// and the queue is not empty, a sender goroutine starts: it sends all queued commands in one
// pipeline and repeats until the queue is empty. A queued command waits on a Go channel, so its
// context can end the wait at once.
//
// A command below the limit is sent by its own goroutine, unless there is contention. A short call
// into C keeps its processor, so that other goroutines which have a command cannot run and submit
// it: without a yield, there would be as many commands in flight as processors, and no batches.
// Under contention, a goroutine therefore queues its command and yields once before it is sent.
// To yield costs a few microseconds if a processor is idle, so a goroutine without contention does
// it only once in probeInterval commands, to find out whether there are others.
//
// All commands of a batch complete together: if one of them waits for an unresponsive node, the
// others wait too. Later commands do not: while a batch is stalled, and for bypassTicks after,
// every command is sent by its own goroutine.
type batcher struct {
	client *Client

	lock     sync.Mutex
	queues   [2]queue // commands without a deadline, and commands with one
	queued   int      // the number of commands in both
	inFlight int      // the number of calls in flight, listed by start time from oldest to newest
	oldest   *inFlightBatch
	newest   *inFlightBatch
	idle     *sender // a list of senders that are not running: their memory is reused

	contention int // positive under contention: after so many batches without, it ends
	unprobed   int // the number of commands since the last yield

	timer       *time.Timer // ticks while a command may be queued
	ticking     bool
	queuedSince bool // whether a command was queued since the last tick
	tick        uint64
	bypassUntil uint64 // before this tick, no command is queued
}

// inFlightBatch is a call into C that has not returned. A command sent by its own goroutine is a
// batch of one.
type inFlightBatch struct {
	earlier, later *inFlightBatch
	startTick      uint64
}

// queue is a list of commands that wait for a sender.
type queue struct{ first, last *command }

const (
	// With one call at a time the servers would be idle while replies are converted. With more
	// than two the batches become smaller.
	maxInFlight = 2
	// One of so many commands yields while there is no contention.
	probeInterval = 32
	// Contention ends when so many batches in sequence have met no more commands than the calls that
	// may be in flight.
	contendedSends = 32
	// The number of commands in a batch.
	maxBatchSize = 512
	tickInterval = 20 * time.Millisecond
	// A batch in flight for this many ticks has stalled.
	stalledTicks = 2
	// After a stall, batching stays off for this many ticks: a node that did not answer once often
	// does not answer the next attempt either.
	bypassTicks = 10
)

// mustRunAlone is the result of a queued command that was not sent, and has to be sent by its own
// goroutine.
const mustRunAlone Kind = -1

// run runs a command, alone or in a batch, and frees it.
func (b *batcher) run(ctx context.Context, cmd *command) Value {
	b.lock.Lock()
	if b.tryQueue(cmd) {
		b.startTicking()
		b.lock.Unlock()
		v, abandoned := b.await(ctx, cmd)
		if abandoned {
			return v // a sender may still use the command
		}
		if v.kind != mustRunAlone {
			cmd.free()
			return v
		}
		b.lock.Lock()
	}
	b.started(&cmd.inFlightBatch)
	b.lock.Unlock()
	v := b.client.runAlone(ctx, cmd)
	b.lock.Lock()
	b.finished(&cmd.inFlightBatch)
	b.startSender()
	b.lock.Unlock()
	cmd.free()
	return v
}

// tryQueue queues a command for a sender, or returns false if its own goroutine is to send it. The
// caller holds the lock.
func (b *batcher) tryQueue(cmd *command) bool {
	if b.tick < b.bypassUntil {
		return false
	}
	if b.inFlight < maxInFlight && b.contention == 0 && b.unprobed < probeInterval {
		b.unprobed++
		return false
	}
	b.enqueue(cmd)
	if b.inFlight >= maxInFlight {
		return true
	}
	b.lock.Unlock()
	runtime.Gosched()
	b.lock.Lock()
	if cmd.queue == nil {
		return true // a sender has taken it meanwhile
	}
	if b.inFlight < maxInFlight && b.queued == 1 {
		b.remove(cmd)
		b.recordContention(1 + b.inFlight)
		return false
	}
	b.startSender()
	return true
}

// recordContention is called when commands are sent, after their goroutines have yielded, with the
// number of commands that are queued or in flight.
func (b *batcher) recordContention(met int) {
	b.unprobed = 0
	if met > maxInFlight {
		b.contention = contendedSends
	} else if b.contention > 0 {
		b.contention--
	}
}

// startSender starts a sender if there are queued commands and one more call may be in flight. The
// caller holds the lock.
func (b *batcher) startSender() {
	if b.inFlight >= maxInFlight || b.queued == 0 {
		return
	}
	s := b.idle
	if s == nil {
		s = &sender{batcher: b}
	} else {
		b.idle = s.nextIdle
	}
	b.started(&s.inFlightBatch)
	s.fillBatch()
	go s.run()
}

// await waits for the result of a queued command, or until its context is done.
func (b *batcher) await(ctx context.Context, cmd *command) (v Value, abandoned bool) {
	done := ctx.Done()
	if done == nil {
		return <-cmd.result, false
	}
	select {
	case v = <-cmd.result:
	case <-done:
		b.lock.Lock()
		queued := cmd.queue != nil
		if queued {
			b.remove(cmd)
		}
		b.lock.Unlock()
		if !queued {
			select {
			case v = <-cmd.result:
			default:
				return errorValue(contextError(ctx.Err(), true)), true
			}
			break
		}
		return errorValue(contextError(ctx.Err(), false)), true
	}
	return b.client.withContextCause(ctx, v), false
}

func (b *batcher) started(call *inFlightBatch) {
	call.startTick, call.later, call.earlier = b.tick, nil, b.newest
	if b.newest == nil {
		b.oldest = call
	} else {
		b.newest.later = call
	}
	b.newest = call
	b.inFlight++
}

func (b *batcher) finished(call *inFlightBatch) {
	if call.earlier == nil {
		b.oldest = call.later
	} else {
		call.earlier.later = call.later
	}
	if call.later == nil {
		b.newest = call.earlier
	} else {
		call.later.earlier = call.earlier
	}
	b.inFlight--
}

func (b *batcher) enqueue(cmd *command) {
	if cmd.deadline.IsZero() {
		b.queues[0].append(cmd)
	} else {
		b.queues[1].append(cmd)
	}
	b.queued++
}

// remove removes a command from its queue.
func (b *batcher) remove(cmd *command) {
	cmd.queue.remove(cmd)
	b.queued--
}

// startTicking starts the timer for a command that waits for a sender.
func (b *batcher) startTicking() {
	b.queuedSince = true
	if !b.ticking {
		b.ticking = true
		if b.timer == nil {
			b.timer = time.AfterFunc(tickInterval, b.onTick)
		} else {
			b.timer.Reset(tickInterval)
		}
	}
}

// onTick turns batching off and empties the queues if the oldest batch has stalled.
func (b *batcher) onTick() {
	b.lock.Lock()
	defer b.lock.Unlock()
	b.tick++
	if b.oldest != nil && b.tick-b.oldest.startTick >= stalledTicks {
		b.bypassUntil = b.tick + bypassTicks
		for i := range b.queues {
			for cmd := b.queues[i].first; cmd != nil; cmd = b.queues[i].first {
				b.remove(cmd)
				cmd.result <- Value{kind: mustRunAlone}
			}
		}
	}
	if b.ticking = b.queuedSince || b.tick < b.bypassUntil; b.ticking {
		b.timer.Reset(tickInterval)
	}
	b.queuedSince = b.queued > 0
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

// sender is a goroutine that sends queued commands in batches.
type sender struct {
	inFlightBatch
	batcher   *batcher
	nextIdle  *sender
	lastQueue int // the queue of the last batch; the other one is next
	buf       []byte
	out       out
	batch     []*command
	deadline  time.Time // the latest deadline in the batch; zero without any
}

// fillBatch moves queued commands of one queue into the batch. The caller holds the lock.
func (s *sender) fillBatch() {
	s.lastQueue ^= 1
	if s.batcher.queues[s.lastQueue].first == nil {
		s.lastQueue ^= 1
	}
	s.batch, s.buf, s.deadline = s.batch[:0], s.buf[:0], time.Time{}
	for q := &s.batcher.queues[s.lastQueue]; q.first != nil && len(s.batch) < maxBatchSize; {
		cmd := q.first
		s.batcher.remove(cmd)
		s.batch = append(s.batch, cmd)
		s.buf = append(s.buf, cmd.buf...)
		if cmd.deadline.After(s.deadline) {
			s.deadline = cmd.deadline
		}
	}
	s.batcher.recordContention(len(s.batch) + s.batcher.queued + s.batcher.inFlight - 1)
}

func (s *sender) run() {
	b := s.batcher
	for more := true; more; {
		s.sendBatch()
		// Goroutines that have just received a reply may send again at once: yield, so that their
		// commands join the next batch.
		runtime.Gosched()
		b.lock.Lock()
		b.finished(&s.inFlightBatch)
		if more = b.inFlight < maxInFlight && b.queued > 0; more {
			b.started(&s.inFlightBatch)
			s.fillBatch()
		} else {
			s.nextIdle, b.idle = b.idle, s
		}
		b.lock.Unlock()
	}
}

// sendBatch sends the batch and delivers each command's reply.
func (s *sender) sendBatch() {
	c := s.batcher.client
	h := c.handle
	if !s.deadline.IsZero() {
		timeout := roundTimeout(time.Until(s.deadline))
		h = c.deadlineHandles.acquire(h, timeout)
		defer c.deadlineHandles.release(h, timeout)
	}
	if len(s.batch) == 1 {
		s.batch[0].result <- s.batch[0].execute(h)
		return
	}
	nativePipeline(h, s.buf, false, &s.out)
	delivered := 0
	whole := takeEach(&s.out, func(i int) bool { return s.batch[i].encoded }, func(i int, v Value) {
		if e := v.err(); e != nil {
			if !e.Sent && (e.Code == ErrInvalid || e.Code == ErrReadOnly || refusedForOrder(e)) {
				// The command was refused, or the whole batch was because of another command, or it
				// was held back to keep an order that does not apply here. Sent alone, it gets its
				// own result.
				v = Value{kind: mustRunAlone}
			} else {
				e.Message = trimPipelinePrefix(e.Message, i)
			}
		}
		s.batch[i].result <- v
		delivered = i + 1
	})
	for _, cmd := range s.batch[delivered:] {
		cmd.result <- whole
	}
}

// refusedForOrder reports whether the library did not run a command because an earlier or later
// command of the same slot in the pipeline ran or may have run. Commands of different goroutines
// have no such order.
func refusedForOrder(e *Error) bool {
	for _, text := range orderRefusals {
		if strings.Contains(e.Message, text) {
			return true
		}
	}
	return false
}

// orderRefusals are parts of the library's messages. A test looks for them in its sources.
var orderRefusals = []string{"(not sent again: a later ", " was not sent: an earlier write "}

// trimPipelinePrefix removes "Command # 2 (SET foo) of pipeline: ": the caller made no pipeline.
func trimPipelinePrefix(message string, i int) string {
	const end = ") of pipeline: "
	if strings.HasPrefix(message, "Command # "+strconv.Itoa(i+1)+" (") {
		if at := strings.Index(message, end); at >= 0 {
			return message[at+len(end):]
		}
	}
	return message
}
