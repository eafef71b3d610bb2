package goredis

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// hooks is the only hook of the go-redis client. It runs the hooks of the program and, behind them, its own,
// which passes the context on and replaces the errors. So the program's hooks see neither a ticket nor an
// error without its cause.
type hooks struct {
	calls calls
	lock  sync.Mutex   // for add
	added atomic.Value // of []redis.Hook, copied on write
}

func newHooks() *hooks {
	h := &hooks{}
	h.added.Store([]redis.Hook(nil))
	return h
}

func (h *hooks) add(hook redis.Hook) {
	h.lock.Lock()
	defer h.lock.Unlock()
	old := h.list()
	h.added.Store(append(old[:len(old):len(old)], hook))
}

func (h *hooks) list() []redis.Hook { return h.added.Load().([]redis.Hook) }

// DialHook runs the program's hooks, although what they see dialled is no socket.
func (h *hooks) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		dial, added := next, h.list()
		for i := len(added) - 1; i >= 0; i-- {
			if hook := added[i].DialHook(dial); hook != nil {
				dial = hook
			}
		}
		return dial(ctx, network, addr)
	}
}

// chain is what the hooks were made into when there were so many.
type chain[F any] struct {
	hooks int
	run   F
}

// chained returns a function that returns the chain of the present hooks.
func chained[F any](h *hooks, innermost F, wrap func(redis.Hook, F) (F, bool)) func() F {
	var known atomic.Value // of *chain[F]
	return func() F {
		added := h.list()
		if c, ok := known.Load().(*chain[F]); ok && c.hooks == len(added) {
			return c.run
		}
		run := innermost
		for i := len(added) - 1; i >= 0; i-- {
			if wrapped, ok := wrap(added[i], run); ok {
				run = wrapped
			}
		}
		known.Store(&chain[F]{len(added), run})
		return run
	}
}

// ProcessHook runs a command.
func (h *hooks) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	run := chained(h, h.process(next), func(hook redis.Hook, next redis.ProcessHook) (redis.ProcessHook, bool) {
		wrapped := hook.ProcessHook(next)
		return wrapped, wrapped != nil
	})
	return func(ctx context.Context, cmd redis.Cmder) error { return run()(ctx, cmd) }
}

// ProcessPipelineHook runs a pipeline or a transaction.
func (h *hooks) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	run := chained(h, h.pipeline(next), func(hook redis.Hook, next redis.ProcessPipelineHook) (redis.ProcessPipelineHook, bool) {
		wrapped := hook.ProcessPipelineHook(next)
		return wrapped, wrapped != nil
	})
	return func(ctx context.Context, cmds []redis.Cmder) error { return run()(ctx, cmds) }
}

// keepsType reports whether go-redis looks at the type of a command, which a call would hide.
func keepsType(cmd redis.Cmder) bool {
	return strings.HasPrefix(strings.ToUpper(cmd.Name()), "FT.")
}

func (h *hooks) process(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if keepsType(cmd) {
			return next(ctx, cmd)
		}
		c := h.calls.begin(ctx, cmd)
		defer h.calls.end(c)
		err := next(ctx, c)
		if len(c.errs) > 0 && err != nil {
			err = newError(c.errs[0])
			cmd.SetErr(err)
		}
		return err
	}
}

func (h *hooks) pipeline(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		// go-redis looks at the type of a transaction's first command, its MULTI.
		first := 0
		if len(cmds) > 2 && cmds[0].Name() == "multi" {
			first = 1
		}
		if keepsType(cmds[first]) {
			return next(ctx, cmds)
		}
		c := h.calls.begin(ctx, cmds[first])
		defer h.calls.end(c)
		ticketed := append([]redis.Cmder(nil), cmds...)
		ticketed[first] = c
		err := next(ctx, ticketed)
		switch {
		case c.err != nil && err != nil:
			err = newError(c.err)
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
		case len(c.errs) > 0:
			err = replaceErrors(cmds[first:], c, err)
		}
		return err
	}
}

// replaceErrors replaces the errors of commands, and returns the first error among them.
func replaceErrors(cmds []redis.Cmder, c *call, first error) error {
	for i, cause := range c.errs {
		if cause != nil && i < len(cmds) && cmds[i].Err() != nil {
			err := newError(cause)
			if first != nil && first == cmds[i].Err() {
				first = err
			}
			cmds[i].SetErr(err)
		}
	}
	return first
}
