package goredis

import (
	"sync"

	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
)

// pins keeps clients with a connection of their own for the next WATCH at the same node, since to open a
// connection costs more than a transaction.
type pins struct {
	rc     *rediscluster.Client
	lock   sync.Mutex
	idle   map[string][]*rediscluster.Client // by node
	closed bool
}

// The number of idle connections for each node.
const maxIdlePins = 64

// acquire returns a client with a connection to the primary that serves a key, and the name of that node.
func (p *pins) acquire(key string) (*rediscluster.Client, string, error) {
	node := p.primary(key)
	if idle := p.take(node); idle != nil {
		return idle, node, nil
	}
	pinned, err := p.rc.Pin(key)
	return pinned, node, err
}

// take returns an idle client, or nil.
func (p *pins) take(node string) *rediscluster.Client {
	p.lock.Lock()
	defer p.lock.Unlock()
	last := len(p.idle[node]) - 1
	if last < 0 {
		return nil
	}
	idle := p.idle[node][last]
	p.idle[node] = p.idle[node][:last]
	return idle
}

// primary returns the node that serves a key, or "" if none is known.
func (p *pins) primary(key string) string {
	route, err := p.rc.Explain("SET", key, "")
	if err != nil {
		return ""
	}
	fields, err := route.Map()
	if err != nil {
		return ""
	}
	nodes, err := fields["nodes"].Slice()
	if err != nil || len(nodes) != 1 {
		return ""
	}
	node, _ := nodes[0].Text()
	return node
}

// release takes a client back whose connection is in no transaction.
func (p *pins) release(pinned *rediscluster.Client, node string) {
	p.lock.Lock()
	defer p.lock.Unlock()
	if p.closed || node == "" || len(p.idle[node]) >= maxIdlePins {
		_ = pinned.Close()
		return
	}
	if p.idle == nil {
		p.idle = map[string][]*rediscluster.Client{}
	}
	p.idle[node] = append(p.idle[node], pinned)
}

// close closes the idle clients.
func (p *pins) close() {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.closed = true
	for _, idle := range p.idle {
		for _, pinned := range idle {
			_ = pinned.Close()
		}
	}
	p.idle = nil
}
