//go:build darwin || freebsd

package rediscluster

import (
	"os"
	"sync"
	"syscall"
)

// poller waits for the descriptors of all subscribers of the process, with one kqueue and one OS thread:
// a kqueue cannot be made non-blocking, as Go's network poller wants it. Descriptors of subscribers stay
// readable until their events are taken. So each is watched for one event, and again by the next goroutine
// that waits for it.
type poller struct {
	kqueue int

	lock    sync.Mutex
	waiting map[int]chan<- struct{} // by descriptor
}

func newPoller() (*poller, error) {
	// A program that is started meanwhile must not inherit the descriptor.
	syscall.ForkLock.RLock()
	kqueue, err := syscall.Kqueue()
	if err == nil {
		syscall.CloseOnExec(kqueue)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("kqueue", err)
	}
	p := &poller{kqueue: kqueue, waiting: map[int]chan<- struct{}{}}
	go p.run()
	return p, nil
}

func (p *poller) run() {
	events := make([]syscall.Kevent_t, 64)
	for {
		n, err := syscall.Kevent(p.kqueue, nil, events, nil)
		if err != nil && err != syscall.EINTR {
			return // the process ends
		}
		if n > 0 {
			p.wake(events[:n])
		}
	}
}

func (p *poller) wake(events []syscall.Kevent_t) {
	p.lock.Lock()
	defer p.lock.Unlock()
	for _, event := range events {
		if waiting, ok := p.waiting[int(event.Ident)]; ok {
			select {
			case waiting <- struct{}{}:
			default: // it has been told
			}
		}
	}
}

// add begins to watch a descriptor. The channel gets a value each time that enable() was called and the
// descriptor is readable.
func (p *poller) add(fd int, readable chan<- struct{}) error {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.waiting[fd] = readable
	return nil
}

// enable reports the next time, or the present one, that the descriptor is readable.
func (p *poller) enable(fd int) error {
	return p.change(fd, syscall.EV_ADD|syscall.EV_ONESHOT)
}

// remove ends the watch, before the descriptor is closed.
func (p *poller) remove(fd int) {
	p.lock.Lock()
	delete(p.waiting, fd)
	p.lock.Unlock()
	_ = p.change(fd, syscall.EV_DELETE) // it is not there if it has been reported
}

func (p *poller) change(fd, flags int) error {
	change := make([]syscall.Kevent_t, 1)
	syscall.SetKevent(&change[0], fd, syscall.EVFILT_READ, flags)
	_, err := syscall.Kevent(p.kqueue, change, nil, nil)
	return os.NewSyscallError("kevent", err)
}
