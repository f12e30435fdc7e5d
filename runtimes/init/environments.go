package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// sharedMemory is where files are that are nothing but memory.
var sharedMemory = "/dev/shm"

// environment is a process in which user code starts, and all that descends from it.
type environment struct {
	pid       int // 0 until the fork server's child has announced itself
	status    int
	directory string
	fds       []int  // log and channel, until it has them
	told      *start // until it is begun with

	extensions []*extension // that have not ended
	waiting    *start       // until those have registered

	// What is asked of the fork server, while it is; the end of the socket is for its child, until that was sent.
	request     *forkRequest
	asked       time.Time
	announce    int
	announceEnd int
	tries       int

	isEnding    bool // nothing of it may stay
	isOver      bool // its first process has ended
	outOfMemory bool
	said        report
	peakKiB     uint64
	toldKiB     uint64
	memoryKiB   uint64
}

// start makes an environment, or says on its status socket why there is none. It takes the descriptors: status, log and
// perhaps a channel. An error is the end of the connection.
func (p *program) start(told *start, fds []int) error {
	name := filepath.Base(told.Directory)
	if filepath.Join(p.settings.Tmp, name) != told.Directory || strings.HasPrefix(name, ".") {
		return errMalformed
	}
	e := &environment{
		status: fds[0], fds: fds[1:], directory: told.Directory, told: told, announce: -1, announceEnd: -1,
	}
	p.environments = append(p.environments, e)
	if err := p.watch(e.status, func() { p.wished(e) }); err != nil {
		p.failed(e, err.Error())
	} else if !p.isTidying {
		p.begin(e)
	}
	return nil
}

func (p *program) begin(e *environment) {
	told := e.told
	e.told = nil
	setAside(e.directory) // of an earlier life of this container, or somebody's in here
	err := os.Mkdir(e.directory, 0o700)
	if err == nil {
		err = p.extend(e, told)
	}
	if err != nil {
		p.failed(e, err.Error())
	} else if len(e.extensions) == 0 {
		p.startRuntime(e, told)
	}
}

// startRuntime starts it, now that its extensions, if it has any, have registered.
func (p *program) startRuntime(e *environment, told *start) {
	var err error
	if told.Fork {
		e.request = &forkRequest{Environment: told.Environment, Directory: e.directory, Limits: p.settings.Limits}
		err = p.fork(e)
	} else {
		err = p.execute(e, told)
	}
	if err != nil {
		p.failed(e, err.Error())
	} else if e.pid > 0 {
		p.started(e)
	}
}

// execute starts the runtime's command as a process of its own.
func (p *program) execute(e *environment, told *start) error {
	command := append(slices.Clone(p.settings.Command), p.image.arguments...)
	if told.Program != "" {
		command[0] = told.Program
	}
	if first := told.Environment[wrapper]; first != "" && p.settings.Inherit == nil { // an image's own bootstrap sees to it
		command = append([]string{first}, command...)
	}
	var variables []string
	for name, value := range p.variables(told.Environment) {
		variables = append(variables, name+"="+value)
	}
	files := []uintptr{0, uintptr(e.fds[0]), uintptr(e.fds[0])}
	if len(e.fds) > 1 {
		files = append(files, uintptr(e.fds[1]))
		variables = append(variables, channelName+"=3")
	}
	pid, err := launch(launched{Command: command, Directory: p.settings.TaskRoot, Limits: p.settings.Limits, IsUsers: true},
		variables, files)
	e.pid = pid
	closeAll(e.fds)
	e.fds = nil
	return err
}

func (p *program) started(e *environment) {
	p.memory.isNew = true
	if p.memory.look(e.pid, e); send(e.status, report{Started: e.pid, PeakKiB: e.peakKiB}) != nil {
		e.end()
		p.mustSweep = true
	}
	e.toldKiB = e.peakKiB
}

// failed is for one that has no process.
func (p *program) failed(e *environment, reason string) {
	send(e.status, report{Error: reason})
	p.remove(e)
}

// wished does what the invoker says of an environment.
func (p *program) wished(e *environment) {
	var buffer [maxAnswer]byte
	message, fds, err := receive(e.status, buffer[:])
	closeAll(fds)
	if err == syscall.EAGAIN {
		return
	}
	var told wish
	if err == nil && len(message) > 0 && json.Unmarshal(message, &told) == nil {
		if told.Run && e.waiting != nil && !e.isEnding {
			waiting := e.waiting
			e.waiting = nil
			p.startRuntime(e, waiting)
		}
		if told.Terminate && e.pid > 0 && !e.isOver {
			syscall.Kill(e.pid, syscall.SIGTERM)
		}
		return
	}
	p.statusClosed(e)
}

// statusClosed is the invoker's word that the environment is to end.
func (p *program) statusClosed(e *environment) {
	delete(p.handlers, e.status)
	syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_DEL, e.status, &syscall.EpollEvent{})
	e.end()
	p.mustSweep = true
}

func (e *environment) end() { e.isEnding = true }

// ended notes how the first process came to its end, which the invoker is told when the others have too; before, if there
// are extensions, for which that is not the end.
func (e *environment) ended(status syscall.WaitStatus, peakKiB uint64) {
	e.isOver = true
	e.peakKiB = max(e.peakKiB, peakKiB)
	e.said = how(status)
	if len(e.extensions) == 0 || e.isEnding {
		e.isEnding = true
		return
	}
	said := e.said
	said.PeakKiB, said.OutOfMemory = e.peakKiB, e.outOfMemory
	send(e.status, report{Runtime: &said})
}

func how(status syscall.WaitStatus) report {
	if status.Signaled() {
		return report{Signal: int(status.Signal())}
	}
	code := status.ExitStatus()
	return report{Code: &code}
}

func (p *program) finish(e *environment) {
	e.said.PeakKiB, e.said.OutOfMemory = e.peakKiB, e.outOfMemory
	send(e.status, e.said)
	p.remove(e)
}

func (p *program) remove(e *environment) {
	p.environments = slices.DeleteFunc(p.environments, func(other *environment) bool { return other == e })
	p.forget(e.status)
	p.askNoMore(e)
	closeAll(e.fds)
	for _, x := range e.extensions {
		syscall.Close(x.report)
		p.mustSweep = true // nobody wants it any more
	}
	setAside(e.directory)
	if len(p.environments) == 0 {
		p.mustSweep = true // a last look, as none comes any more
		p.tidy()
	}
}

// tidy removes what the last environments have left where all can write. Until it is gone, however long that takes, none
// begins, and everything else goes on.
func (p *program) tidy() {
	if !p.isFirst || p.isTidying || p.settings == nil || isEmpty(p.settings.Tmp) && isEmpty(sharedMemory) {
		return
	}
	p.isTidying = true
	folders := []string{p.settings.Tmp, sharedMemory}
	go func() {
		for _, folder := range folders {
			clear(folder)
		}
		p.wake.Write([]byte{tidied})
	}()
}

func (p *program) tidied() {
	p.isTidying = false
	for _, e := range slices.Clone(p.environments) {
		if e.told != nil && !e.isEnding {
			p.begin(e)
		}
	}
}

// reap waits for all that has ended.
func (p *program) reap() {
	for {
		var status syscall.WaitStatus
		var usage syscall.Rusage
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, &usage)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if p.forks != nil && pid == p.forks.pid {
			p.forks.died(p)
			continue
		}
		e := p.environmentOf(pid)
		if e == nil && p.isForking() {
			// What it said before it ended is there to be read.
			for _, asked := range slices.Clone(p.environments) {
				if asked.announce >= 0 {
					p.announced(asked)
				}
			}
			e = p.environmentOf(pid)
		}
		if e == nil {
			if e, x := p.extensionOf(pid); e != nil {
				e.extensionEnded(x, status)
				p.mustSweep = true
			}
			continue
		}
		if status.Signaled() && status.Signal() == syscall.SIGKILL && !e.isEnding {
			e.outOfMemory = p.memory.kernelKilled()
		}
		e.ended(status, uint64(usage.Maxrss))
		p.mustSweep = true
	}
}

func (p *program) environmentOf(pid int) *environment {
	for _, e := range p.environments {
		if e.pid == pid && !e.isOver {
			return e
		}
	}
	return nil
}

// isForking tells whether processes may be there that are about to be announced.
func (p *program) isForking() bool {
	return slices.ContainsFunc(p.environments, func(e *environment) bool { return e.announce >= 0 })
}
