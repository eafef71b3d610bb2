//go:build linux || darwin || freebsd

package rediscluster

import "sync"

var thePoller struct {
	once   sync.Once
	poller *poller
	err    error
}

// sharedPoller returns the poller of the process, which the first subscriber makes.
func sharedPoller() (*poller, error) {
	thePoller.once.Do(func() { thePoller.poller, thePoller.err = newPoller() })
	return thePoller.poller, thePoller.err
}
