package main

import (
	"encoding/json"
	"fmt"
	"os"
	"syscall"
	"time"
)

// connect tries to reach the invoker.
func (p *program) connect() bool {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return false
	}
	if syscall.Connect(fd, &syscall.SockaddrUnix{Name: p.path}) != nil || p.watch(fd, p.listen) != nil {
		p.forget(fd)
		return false
	}
	p.connection = fd
	p.settings = nil
	p.say(map[string]int{"protocol": protocol})
	if p.isStopping {
		p.stop()
	}
	return true
}

// stop passes on that the container is to end. The invoker says when.
func (p *program) stop() {
	p.isStopping = true
	if p.connection < 0 {
		p.isReleased = true // nobody is there whom it would concern
		return
	}
	p.say(map[string]bool{"stopping": true})
}

func (p *program) say(message any) {
	if p.connection >= 0 && send(p.connection, message) != nil {
		p.disconnect()
	}
}

func (p *program) listen() {
	for p.connection >= 0 {
		message, fds, err := receive(p.connection, p.buffer)
		if err == syscall.EAGAIN {
			return
		}
		if err == nil && len(message) > 0 {
			if err = p.obey(message, fds); err == nil {
				continue
			}
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "init: the invoker's connection:", err)
		}
		closeAll(fds)
		p.disconnect()
	}
}

// obey does what the invoker asks for; the descriptors are the environment's from then on.
func (p *program) obey(message []byte, fds []int) error {
	var told order
	if json.Unmarshal(message, &told) != nil {
		return errMalformed
	}
	switch {
	case told.Settings != nil && p.settings == nil && len(fds) == 0:
		return p.configure(told.Settings)
	case told.Start != nil && p.isReady && len(fds) >= 2:
		return p.start(told.Start, fds)
	case told.Release && len(fds) == 0:
		p.isReleased = true
		p.endAll()
		return nil
	}
	return errMalformed
}

func (p *program) configure(given *settings) error {
	if len(given.Command) == 0 || given.MemoryKiB == 0 || given.Processes <= 0 || given.Tmp == "" {
		return errMalformed
	}
	if given.TaskRoot == "" {
		if given.Inherit == nil || p.image.directory == "" {
			return errMalformed
		}
		given.TaskRoot = p.image.directory
	}
	if !known(given.Limits) {
		return errMalformed
	}
	p.settings = given
	p.tidy() // what an earlier life of this container has left
	if len(given.ForkServer) == 0 {
		p.ready("")
		return nil
	}
	if err := p.startForkServer(); err != nil {
		p.ready(err.Error())
	}
	return nil
}

// ready says that environments can be started, or why not; after that the settings may come again.
func (p *program) ready(reason string) {
	if reason != "" {
		p.settings = nil
		p.say(map[string]string{"error": reason})
		return
	}
	p.isReady = true
	p.say(map[string]bool{"ready": true})
}

// disconnect ends everything that was started for this connection. A new one is made when nothing of it is left.
func (p *program) disconnect() {
	if p.connection < 0 {
		return
	}
	p.forget(p.connection)
	p.connection = -1
	p.goneSince = time.Now()
	p.isReady = false
	p.endAll()
	p.isReleased = p.isReleased || p.isStopping
}

func (p *program) endAll() {
	for _, e := range p.environments {
		e.end()
	}
	if p.forks != nil {
		p.forks.end(p)
	}
	p.mustSweep = true
}
