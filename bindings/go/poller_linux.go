package rediscluster

import (
	"os"
	"sync"
	"syscall"
)

// poller waits for the descriptors of all subscribers of the process, in one goroutine and without an
// OS thread: they are in one epoll instance, whose own descriptor is in Go's network poller. Go watches
// descriptors edge-triggered, and those of subscribers are level-triggered. So each is disabled when it
// has become readable, and enabled again by the next goroutine that waits for it.
type poller struct {
	epoll int
	file  *os.File

	lock    sync.Mutex
	waiting map[int32]chan<- struct{} // by descriptor
}

func newPoller() (*poller, error) {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	// Only a descriptor that does not block gets into Go's network poller.
	if err := syscall.SetNonblock(epoll, true); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &poller{epoll: epoll, file: os.NewFile(uintptr(epoll), "epoll of rediscluster"), waiting: map[int32]chan<- struct{}{}}
	conn, err := p.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	go p.run(conn)
	return p, nil
}

func (p *poller) run(conn syscall.RawConn) {
	events := make([]syscall.EpollEvent, 64)
	for {
		// The function is called again when the epoll instance becomes readable.
		err := conn.Read(func(uintptr) bool {
			for {
				n, err := syscall.EpollWait(p.epoll, events, 0)
				if err == syscall.EINTR {
					continue
				}
				if n <= 0 {
					return false
				}
				p.wake(events[:n])
			}
		})
		if err != nil {
			return // the process ends
		}
	}
}

func (p *poller) wake(events []syscall.EpollEvent) {
	p.lock.Lock()
	defer p.lock.Unlock()
	for _, event := range events {
		if waiting, ok := p.waiting[event.Fd]; ok {
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
	p.waiting[int32(fd)] = readable
	p.lock.Unlock()
	event := syscall.EpollEvent{Events: syscall.EPOLLONESHOT, Fd: int32(fd)}
	return os.NewSyscallError("epoll_ctl", syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_ADD, fd, &event))
}

// enable reports the next time, or the present one, that the descriptor is readable.
func (p *poller) enable(fd int) error {
	event := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLONESHOT, Fd: int32(fd)}
	return os.NewSyscallError("epoll_ctl", syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_MOD, fd, &event))
}

// remove ends the watch, before the descriptor is closed.
func (p *poller) remove(fd int) {
	p.lock.Lock()
	delete(p.waiting, int32(fd))
	p.lock.Unlock()
	_ = syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_DEL, fd, &syscall.EpollEvent{})
}
