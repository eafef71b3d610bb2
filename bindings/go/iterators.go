//go:build go1.23

package rediscluster

import (
	"context"
	"errors"
	"iter"
)

// ScanKeys iterates over the keys of the whole cluster that match a pattern ("" for all). args are further ones of
// SCAN: "TYPE", "hash". See [Client.Scan] for what is guaranteed. An error ends the iteration.
//
//	for key, err := range rc.ScanKeys(ctx, "user:*") { ... }
func (c *Client) ScanKeys(ctx context.Context, match string, args ...any) iter.Seq2[string, error] {
	if match != "" {
		args = append([]any{"MATCH", match}, args...)
	}
	return pages(func(cursor string) ([]string, string, error) {
		cmd := newCommand()
		encodeScan(&cmd.encoder, cursor, args...)
		return c.run(ctx, cmd).page()
	}, func(elements []string) (string, []string) { return elements[0], elements[1:] })
}

// Field is a field of a hash with its value.
type Field struct{ Name, Value string }

// ScanHash iterates over the fields of a hash. args are those of HSCAN: "MATCH", pattern, "COUNT", 100.
func (c *Client) ScanHash(ctx context.Context, key string, args ...any) iter.Seq2[Field, error] {
	return pages(func(cursor string) ([]string, string, error) { return c.HScan(ctx, key, cursor, args...) },
		func(elements []string) (Field, []string) { return Field{elements[0], elements[1]}, elements[2:] })
}

// ScanSet iterates over the members of a set. args are those of SSCAN.
func (c *Client) ScanSet(ctx context.Context, key string, args ...any) iter.Seq2[string, error] {
	return pages(func(cursor string) ([]string, string, error) { return c.SScan(ctx, key, cursor, args...) },
		func(elements []string) (string, []string) { return elements[0], elements[1:] })
}

// ScanSorted iterates over the members of a sorted set, not in the order of their scores. args are those of ZSCAN.
func (c *Client) ScanSorted(ctx context.Context, key string, args ...any) iter.Seq2[Scored, error] {
	return pages(func(cursor string) ([]string, string, error) { return c.ZScan(ctx, key, cursor, args...) },
		func(elements []string) (Scored, []string) {
			score, _ := Value{kind: KindDouble, num: int64(len(elements[1])), data: textData([]byte(elements[1]))}.Float()
			return Scored{elements[0], score}, elements[2:]
		})
}

// pages iterates over the elements of the pages of a scan.
func pages[T any](page func(cursor string) ([]string, string, error), first func([]string) (T, []string)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for cursor := "0"; ; {
			elements, next, err := page(cursor)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for len(elements) > 0 {
				var element T
				element, elements = first(elements)
				if !yield(element, nil) {
					return
				}
			}
			if cursor = next; cursor == "0" {
				return
			}
		}
	}
}

// Messages iterates over the messages, until the context ends or the subscription is closed. An error does not end
// the subscription: the iteration goes on after it. See [Subscription.ReceiveMessage].
//
//	for message, err := range sub.Messages(ctx) { ... }
func (s *Subscription) Messages(ctx context.Context) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		for {
			message, err := s.ReceiveMessage(ctx)
			if ctx.Err() != nil || errors.Is(err, ErrClosed) {
				return
			}
			if !yield(message, err) || err != nil && s.fd < 0 {
				return
			}
		}
	}
}
