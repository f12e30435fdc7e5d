package main

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"syscall"
	"time"
)

const mostTries = 4

// forkServer is the runtime's own: without user code, and asked for environments.
type forkServer struct {
	pid     int
	fd      int
	isReady bool
}

// forkRequest is what it is sent, with the socket on which the new environment says that it is there, log and channel.
type forkRequest struct {
	Environment map[string]string `json:"environment"`
	Directory   string            `json:"directory"`
	Limits      map[string]uint64 `json:"limits"`
}

var errNoFork = errors.New("no process could be made")

func (p *program) startForkServer() error {
	ours, theirs, err := socketPair()
	if err != nil {
		return err
	}
	defer syscall.Close(theirs)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		syscall.Close(ours)
		return err
	}
	defer null.Close()
	files := []uintptr{null.Fd(), null.Fd(), 2, uintptr(theirs)}
	variables := []string{"LANG=C.UTF-8", "PATH=/usr/local/bin:/usr/bin:/bin"}
	pid, err := launch(launched{Command: p.settings.ForkServer, Directory: "/"}, variables, files)
	if err != nil {
		syscall.Close(ours)
		return err
	}
	p.forks = &forkServer{pid: pid, fd: ours}
	return p.watch(ours, func() { p.forks.listen(p) })
}

func (f *forkServer) listen(p *program) {
	var buffer [maxAnswer]byte
	message, fds, err := receive(f.fd, buffer[:])
	closeAll(fds)
	if err == syscall.EAGAIN {
		return
	}
	var told struct{ Ready bool }
	if err != nil || json.Unmarshal(message, &told) != nil || !told.Ready {
		f.end(p) // it is ending, or it is none of ours
		return
	}
	f.isReady = true
	if !p.isReady {
		p.ready("")
	}
}

// fork asks the fork server for an environment, and starts it first where there is none.
func (p *program) fork(e *environment) error {
	if p.forks == nil {
		if len(p.settings.ForkServer) == 0 {
			return errNoFork
		}
		if err := p.startForkServer(); err != nil {
			return err
		}
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return err
	}
	e.announce, e.announceEnd = ours, theirs
	e.asked = time.Now()
	return p.watch(ours, func() { p.announced(e) })
}

// announced takes a new environment's word that it is there, which it gives before it runs user code.
func (p *program) announced(e *environment) {
	var buffer [maxAnswer]byte
	message, fds, err := receive(e.announce, buffer[:])
	closeAll(fds)
	if err == syscall.EAGAIN {
		return
	}
	var told struct{ Pid int }
	if err != nil || json.Unmarshal(message, &told) != nil || told.Pid <= 1 {
		p.unannounced(e)
		return
	}
	p.askNoMore(e)
	e.request = nil
	closeAll(e.fds)
	e.fds = nil
	e.pid = told.Pid
	if e.isEnding {
		p.mustSweep = true
	} else {
		p.started(e)
	}
}

// unannounced asks again, for it may have been the fork server's end and not its answer, and that one's too.
func (p *program) unannounced(e *environment) {
	p.askNoMore(e)
	p.mustSweep = true // whatever was forked for it
	if e.tries++; e.tries == mostTries || e.isEnding {
		p.failed(e, errNoFork.Error())
		return
	}
	if err := p.fork(e); err != nil {
		p.failed(e, err.Error())
	}
}

func (p *program) askNoMore(e *environment) {
	for _, fd := range []int{e.announce, e.announceEnd} {
		if fd >= 0 {
			p.forget(fd)
		}
	}
	e.announce, e.announceEnd = -1, -1
}

// tick sends what waits and ends a fork server that does not answer. It tells whether something still waits.
func (f *forkServer) tick(p *program, now time.Time) bool {
	waits := false
	for _, e := range slices.Clone(p.environments) {
		if e.announce >= 0 && now.Sub(e.asked) > forkWithin {
			f.end(p)
			return false
		}
		if e.announceEnd < 0 || waits {
			continue
		}
		switch err := send(f.fd, e.request, append([]int{e.announceEnd}, e.fds...)...); err {
		case nil:
			syscall.Close(e.announceEnd)
			e.announceEnd = -1
		case syscall.EAGAIN:
			waits = true
		default:
			f.end(p)
			return false
		}
	}
	return waits
}

// end kills it; the next request starts another one.
func (f *forkServer) end(p *program) {
	syscall.Kill(f.pid, syscall.SIGKILL)
	f.died(p)
}

// died asks another one for what this one had not done. Whoever it had forked by then was announced or is killed.
func (f *forkServer) died(p *program) {
	if p.forks != f {
		return
	}
	p.forks = nil
	p.forget(f.fd)
	for _, e := range slices.Clone(p.environments) {
		if e.announce >= 0 {
			// From here on nobody can announce itself, and what was said before is there to be read.
			syscall.Shutdown(e.announce, syscall.SHUT_RDWR)
			p.announced(e)
		}
	}
	p.mustSweep = true
	if p.settings != nil && !p.isReady && p.connection >= 0 {
		p.ready("the runtime's fork server did not start")
	}
}
