package goredis

import (
	"context"
	"sync"

	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
	"github.com/redis/go-redis/v9"
)

// ForEachMaster calls fn for each primary, concurrently, with a client whose commands go to that node. It
// returns the first error.
func (c *ClusterClient) ForEachMaster(ctx context.Context, fn func(ctx context.Context, client *redis.Client) error) error {
	return c.forEach(ctx, fn, func(n rediscluster.Node) bool { return n.Primary })
}

// ForEachSlave calls fn for each replica.
func (c *ClusterClient) ForEachSlave(ctx context.Context, fn func(ctx context.Context, client *redis.Client) error) error {
	return c.forEach(ctx, fn, func(n rediscluster.Node) bool { return !n.Primary })
}

// ForEachShard calls fn for each node, primaries and replicas, as that of go-redis does.
func (c *ClusterClient) ForEachShard(ctx context.Context, fn func(ctx context.Context, client *redis.Client) error) error {
	return c.forEach(ctx, fn, func(rediscluster.Node) bool { return true })
}

func (c *ClusterClient) forEach(
	ctx context.Context, fn func(context.Context, *redis.Client) error, wanted func(rediscluster.Node) bool,
) error {
	nodes, err := c.nodes()
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	failed := make(chan error, len(nodes))
	for _, node := range nodes {
		if !wanted(node) {
			continue
		}
		all.Add(1)
		go func(address string) {
			defer all.Done()
			if err := fn(ctx, c.atNode(address)); err != nil {
				failed <- err
			}
		}(node.Address)
	}
	all.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// nodes returns the nodes of the cluster, after the client has connected.
func (c *ClusterClient) nodes() ([]rediscluster.Node, error) {
	if c.failed != nil {
		return nil, c.failed
	}
	nodes, err := c.rc.Nodes()
	if err == nil && len(nodes) == 0 {
		if err = c.rc.Refresh(); err == nil {
			nodes, err = c.rc.Nodes()
		}
	}
	return nodes, err
}

// atNode returns the client whose commands go to one node.
func (c *ClusterClient) atNode(address string) *redis.Client {
	c.lock.Lock()
	defer c.lock.Unlock()
	client := c.byNode[address]
	if client == nil {
		client = redis.NewClient(c.connOptions(address))
		client.AddHook(c.hooks)
		c.byNode[address] = client
	}
	return client
}

// MasterForKey returns a client whose commands go to the primary that serves a key now. It is
// closed with c.
func (c *ClusterClient) MasterForKey(ctx context.Context, key string) (*redis.Client, error) {
	if _, err := c.nodes(); err != nil {
		return nil, err
	}
	address := c.pins.primary(key)
	if address == "" {
		return nil, &replyError{failure{&rediscluster.Error{Code: rediscluster.ErrDown, Message: "CLUSTERDOWN no node serves the slot of " + key}}}
	}
	return c.atNode(address), nil
}

// SlaveForKey returns a client whose commands go to a replica of the slot of a key, or to its primary if there
// is none. It is closed with c.
func (c *ClusterClient) SlaveForKey(ctx context.Context, key string) (*redis.Client, error) {
	nodes, err := c.nodes()
	if err != nil {
		return nil, err
	}
	primary := c.pins.primary(key)
	for i, node := range nodes {
		if node.Primary && node.Address == primary && i+1 < len(nodes) && !nodes[i+1].Primary {
			return c.atNode(nodes[i+1].Address), nil
		}
	}
	return c.MasterForKey(ctx, key)
}

// ReloadState reads the topology from the servers. The library does so by itself when it has to.
func (c *ClusterClient) ReloadState(context.Context) {
	if c.failed == nil {
		_ = c.rc.Refresh()
	}
}

// PoolStats returns the numbers of the connections to the servers, as far as the library counts them. Stats of
// [ClusterClient.Cluster] has more.
func (c *ClusterClient) PoolStats() *redis.PoolStats {
	var stats redis.PoolStats
	if c.failed != nil {
		return &stats
	}
	topology, err := c.rc.Topology()
	if err != nil {
		return &stats
	}
	shards, _ := topology.Slice()
	for _, v := range shards {
		shard, _ := v.Map()
		nodes, _ := shard["replicas"].Slice()
		for _, v := range append([]rediscluster.Value{shard["primary"]}, nodes...) {
			node, _ := v.Map()
			connections, _ := node["connections"].Int()
			inFlight, _ := node["in_flight"].Int()
			stats.TotalConns += uint32(connections)
			if idle := connections - inFlight; idle > 0 {
				stats.IdleConns += uint32(idle)
			}
		}
	}
	return &stats
}
