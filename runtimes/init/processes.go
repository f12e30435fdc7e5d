package main

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
)

const walks = 10

// family is who is whose child, of the processes that have not ended.
type family map[int][]int

func look() family {
	found := family{}
	folder, err := os.Open("/proc")
	if err != nil {
		return found
	}
	names, _ := folder.Readdirnames(-1)
	folder.Close()
	var buffer [512]byte
	for _, name := range names {
		if name[0] < '1' || name[0] > '9' {
			continue
		}
		text := readInto("/proc/"+name+"/stat", buffer[:])
		// The name in brackets may hold anything, brackets too.
		rest := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		if len(rest) < 18 || rest[0][0] == 'X' {
			continue
		}
		// A process whose first thread has ended looks like one that has not been waited for, and may run on in others.
		if threads, _ := strconv.Atoi(string(rest[17])); rest[0][0] == 'Z' && threads <= 1 {
			continue
		}
		pid, _ := strconv.Atoi(name)
		parent, _ := strconv.Atoi(string(rest[1]))
		found[parent] = append(found[parent], pid)
	}
	return found
}

// below returns all that descends from a process, without itself.
func (f family) below(pid int) []int {
	var found []int
	for _, child := range f[pid] {
		found = append(append(found, child), f.below(child)...)
	}
	return found
}

// unwanted returns what must not run: environments that are to end, and processes that nobody announced, which were
// orphaned and so came to init. What runs below one of those may be wanted: who forks an environment ends right after it,
// and may do so later than the environment is announced.
func (p *program) unwanted(f family) []int {
	var found []int
	var walk func(parent int)
	walk = func(parent int) {
		for _, child := range f[parent] {
			e := p.environmentOf(child)
			if e == nil {
				e, _ = p.extensionOf(child)
			}
			isOfForks := p.forks != nil && child == p.forks.pid
			if isOfForks || e != nil && !e.isEnding || e == nil && parent == os.Getpid() && p.isForking() {
				continue
			}
			found = append(found, child)
			walk(child)
		}
	}
	walk(os.Getpid())
	return found
}

// sweep kills what is unwanted. Stopped first: what is stopped forks no more, so that the killing ends also where
// processes are made faster than they can be killed one by one. Environments of which nothing is left are finished;
// else mustSweep stays and it is called again.
func (p *program) sweep() {
	stopped := map[int]bool{}
	for range walks {
		fresh := 0
		for _, pid := range p.unwanted(look()) {
			if !stopped[pid] {
				syscall.Kill(pid, syscall.SIGSTOP)
				stopped[pid] = true
				fresh++
			}
		}
		if fresh == 0 {
			break
		}
	}
	for pid := range stopped {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, e := range p.environments {
		if e.isEnding && !e.isOver && e.pid > 0 {
			syscall.Kill(e.pid, syscall.SIGKILL) // also where its parent is not this process yet
		}
	}
	p.reap()
	p.mustSweep = len(stopped) > 0
	for i := len(p.environments) - 1; i >= 0; i-- {
		switch e := p.environments[i]; {
		case e.isOver && e.isEnding && len(e.extensions) == 0 && len(stopped) == 0:
			p.finish(e)
		case e.isEnding && len(e.extensions) == 0 && (e.told != nil || e.waiting != nil):
			p.failed(e, "it is not wanted any more")
		case e.isEnding && (e.pid > 0 || len(e.extensions) > 0):
			p.mustSweep = true
		}
	}
	if p.sweeps++; !p.mustSweep {
		p.sweeps = 0
	}
}

// untilSweep is how long to wait before the next one: most have ended in a moment, some can't for now.
func (p *program) untilSweep() time.Duration {
	if p.sweeps < 200 {
		return time.Millisecond
	}
	return 50 * time.Millisecond
}

// statusOf reads what a process's status says, its memory included. Where the first thread has ended before the others,
// only theirs tell that.
func statusOf(pid int, buffer []byte) []byte {
	process := "/proc/" + strconv.Itoa(pid)
	text := readInto(process+"/status", buffer)
	if bytes.Contains(text, []byte("\nRssAnon:")) {
		return text
	}
	folder, err := os.Open(process + "/task")
	if err != nil {
		return nil
	}
	threads, _ := folder.Readdirnames(-1)
	folder.Close()
	for _, thread := range threads {
		if text = readInto(process+"/task/"+thread+"/status", buffer); bytes.Contains(text, []byte("\nRssAnon:")) {
			return text
		}
	}
	return nil
}

// readInto reads the beginning of a file of the kernel's.
func readInto(path string, buffer []byte) []byte {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer syscall.Close(fd)
	n, _ := syscall.Read(fd, buffer)
	return buffer[:max(n, 0)]
}
