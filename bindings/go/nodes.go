package rediscluster

import (
	"context"
	"errors"
)

// DoTo sends a command to chosen nodes. One node: "slot:N", "key:K", "random", or "host:port" for a node of
// the cluster, whose redirections are not followed. Several: "all", "primaries" or "replicas"; the reply is
// then a map from "host:port" to the reply of that node.
func (c *Client) DoTo(ctx context.Context, where string, args ...any) (Value, error) {
	cWhere, err := appendCString(nil, "the destination", where)
	if err != nil {
		return Value{}, err
	}
	cmd, err := encode(args)
	if err != nil {
		return Value{}, err
	}
	run := func(h handle) Value {
		nativeCommandTo(h, cWhere, cmd.buf, &cmd.out)
		return takeValue(&cmd.out, cmd.encoded)
	}
	var v Value
	if ctx.Done() == nil {
		v = run(c.handle)
	} else {
		v = c.withContext(ctx, run)
	}
	cmd.free()
	return v, v.Err()
}

// Pin returns a client with one connection of its own, to the primary that serves the key. It is for
// commands that belong to a connection: WATCH, MULTI, EXEC, CLIENT TRACKING. Nothing is redirected or
// sent again on it; docs/commands.md says when its connection is lost. A deadline may only shorten
// its timeout_ms. It has to be closed too. For transactions, see [Client.Watch].
func (c *Client) Pin(key string) (*Client, error) {
	pinned, err := newClient(nativePin(c.handle, key))
	if err == nil {
		pinned.pinned = true
	}
	return pinned, err
}

// Watch calls f with a client of its own connection, on which the keys are watched. They must be in one
// slot. f reads them through tx, and writes by [Pipeline.ExecAtomic] of a pipeline of tx, which returns
// [ErrTxFailed] if one of them has changed since. Watch returns the error of f: if it is ErrTxFailed,
// call Watch again.
func (c *Client) Watch(ctx context.Context, f func(tx *Client) error, keys ...string) error {
	if len(keys) == 0 {
		return invalid("Watch needs at least one key")
	}
	tx, err := c.Pin(keys[0])
	if err != nil {
		return err
	}
	defer tx.Close()
	args := make([]any, 1, 1+len(keys))
	args[0] = "WATCH"
	for _, key := range keys {
		args = append(args, key)
	}
	if _, err := tx.Do(ctx, args...); err != nil {
		return err
	}
	return f(tx)
}

// Node is a node of the cluster, as the client knows it.
type Node struct {
	Address string // "host:port"
	Primary bool
}

// Nodes returns the nodes of the cluster, as the client knows them: of each shard its primary, if it has
// one, and then its replicas. It does no I/O.
func (c *Client) Nodes() ([]Node, error) {
	topology, err := c.Topology()
	if err != nil {
		return nil, err
	}
	shards, err := topology.Slice()
	if err != nil {
		return nil, err
	}
	var nodes []Node
	add := func(v Value, primary bool) error {
		fields, err := v.Map()
		if err == nil {
			var address string
			address, err = fields["address"].Text()
			nodes = append(nodes, Node{Address: address, Primary: primary})
		}
		return err
	}
	for _, v := range shards {
		shard, err := v.Map()
		if err != nil {
			return nil, err
		}
		if err := add(shard["primary"], true); err != nil && !errors.Is(err, Nil) {
			return nil, err
		}
		replicas, err := shard["replicas"].Slice()
		for i := 0; err == nil && i < len(replicas); i++ {
			err = add(replicas[i], false)
		}
		if err != nil {
			return nil, err
		}
	}
	return nodes, nil
}
