package goredis

import (
	"context"
	"strconv"
	"sync"

	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
	"github.com/redis/go-redis/v9"
)

// call connects a hook, which knows the context of a command, with the connection that go-redis chooses for
// it. The hook puts the call's ticket before the arguments of the command, and the connection takes it away.
type call struct {
	redis.Cmder // the command, but for its arguments
	args        []any
	ticket      any // a string, boxed once

	ctx context.Context
	// The connection stores the errors here, since go-redis would keep only their text.
	err  *rediscluster.Error   // of a whole transaction
	errs []*rediscluster.Error // of the commands; shorter if the last ones have none
}

// Args returns the ticket and the arguments of the command.
func (c *call) Args() []any { return c.args }

// A ticket begins with a byte that begins no command's name.
const ticketByte = 0

// calls is the list of the calls in progress. Calls are reused, so that a ticket is a small number.
type calls struct {
	lock sync.Mutex
	all  []*call
	free []*call
}

// begin returns a call for a command, which stands for the command then.
func (cs *calls) begin(ctx context.Context, cmd redis.Cmder) *call {
	cs.lock.Lock()
	var c *call
	if last := len(cs.free) - 1; last >= 0 {
		c = cs.free[last]
		cs.free = cs.free[:last]
	} else {
		c = &call{ticket: string(rune(ticketByte)) + strconv.Itoa(len(cs.all))}
		cs.all = append(cs.all, c)
	}
	cs.lock.Unlock()
	c.Cmder, c.ctx = cmd, ctx
	c.args = append(append(c.args[:0], c.ticket), cmd.Args()...)
	return c
}

// end takes a call back.
func (cs *calls) end(c *call) {
	for i := range c.args {
		c.args[i] = nil
	}
	c.Cmder, c.ctx, c.err, c.errs = nil, nil, nil, nil
	cs.lock.Lock()
	cs.free = append(cs.free, c)
	cs.lock.Unlock()
}

// find returns the call of a ticket without its first byte.
func (cs *calls) find(ticket []byte) *call {
	n := 0
	for _, digit := range ticket {
		n = 10*n + int(digit-'0')
	}
	cs.lock.Lock()
	defer cs.lock.Unlock()
	return cs.all[n]
}

// fail stores the error of the command at a position.
func (c *call) fail(i int, err *rediscluster.Error) {
	if c == nil {
		return
	}
	for len(c.errs) <= i {
		c.errs = append(c.errs, nil)
	}
	c.errs[i] = err
}
