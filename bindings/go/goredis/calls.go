package goredis

import (
	"bytes"
	"context"
	"crypto/rand"
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

// ticketByte is the first byte of a ticket. Random bytes follow, then a number: an argument of the program, which may
// be any text, is not taken for a ticket.
const ticketByte = 0

// calls is the list of the calls in progress. Calls are reused, so that a ticket is a small number.
type calls struct {
	lock   sync.Mutex
	prefix []byte // of all tickets
	all    []*call
	free   []*call
}

// begin returns a call for a command, which stands for the command then.
func (cs *calls) begin(ctx context.Context, cmd redis.Cmder) *call {
	cs.lock.Lock()
	var c *call
	if last := len(cs.free) - 1; last >= 0 {
		c = cs.free[last]
		cs.free = cs.free[:last]
	} else {
		if cs.prefix == nil {
			cs.prefix = newPrefix()
		}
		c = &call{ticket: string(cs.prefix) + strconv.Itoa(len(cs.all))}
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

func newPrefix() []byte {
	prefix := make([]byte, 9)
	if _, err := rand.Read(prefix[1:]); err != nil {
		panic("goredis: the system has no random numbers: " + err.Error())
	}
	prefix[0] = ticketByte
	return prefix
}

// find returns the call of a ticket, or nil if the name of a command is no ticket.
func (cs *calls) find(name []byte) *call {
	if cs == nil || len(name) == 0 || name[0] != ticketByte {
		return nil
	}
	cs.lock.Lock()
	defer cs.lock.Unlock()
	if cs.prefix == nil || !bytes.HasPrefix(name, cs.prefix) {
		return nil
	}
	n := 0
	for _, digit := range name[len(cs.prefix):] {
		n = 10*n + int(digit-'0')
	}
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
