package main

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"
)

const (
	// More than a core takes of memory in a second when it does nothing else.
	fastestKiB = 4 << 20
	// No look comes sooner after the last one, and none later.
	soonest = 2 * time.Millisecond
	latest  = 250 * time.Millisecond
	// What happens is looked at as often as embedded: where the container's memory has changed by this much, and now and
	// then anyway.
	changeKiB  = 256
	scanEvery  = 100 * time.Millisecond
	scanAtAll  = 5 * time.Second
	scanNew    = 20 * time.Millisecond
	newFor     = 300 * time.Millisecond
	peakStep   = 256
	marginKiB  = 4 << 10
	noLimitKiB = 1 << 40
	// Where looks alone would have to come more often than this, alarms are set.
	seldom = 100 * time.Millisecond
	// Without alarms, how often is looked where a burst could use up what is left.
	soonestUnalarmed = 10 * time.Millisecond
	alarmAtLeast     = time.Millisecond
	// The kernel sees at a tick of its clock that a group has used up its time, on most machines 250 times a second.
	tick = 4 * time.Millisecond
)

// cgroups is where the container sees its own group, of either version.
var cgroups = "/sys/fs/cgroup/"

// memory watches what environments take. One number of the container's group tells whether anything has changed since
// each was last looked at, and how much is left until the kernel would kill. Whoever takes it needs processor time, and
// the container may have so much a second, some of it saved up and used at once. Where half of what is left is more than
// such a burst could take, there is a time before which the rest can't be used up either, and the next look comes then.
// Where it is less, alarms on the processes' own clocks ring when they may have taken half of it, and the looks between
// them are for what alarms can't see. For a function that does nothing that is four looks a second, one system call each.
type memory struct {
	usage       int // of the group, in bytes; -1 where there is none to be read
	stat        string
	kills       string
	killsSeen   uint64
	limitKiB    uint64
	rateKiB     uint64 // a second, of all environments together, in the mean
	burstKiB    uint64 // beyond that, once
	cpus        int
	alarms      alarms
	filesKiB    uint64 // of it, what the kernel can give back, when it was filesAtKiB
	filesAtKiB  uint64
	isNew       bool
	newUntil    time.Time
	next        time.Time
	scanned     time.Time
	scannedKiB  uint64
	headroomKiB uint64 // the least that any environment had, when all were looked at
}

func openMemory() memory {
	cpus := runtime.NumCPU()
	mean, burst := cores(cpus)
	m := memory{
		usage: -1, limitKiB: noLimitKiB, cpus: cpus,
		rateKiB: uint64(mean * fastestKiB), burstKiB: uint64(burst.Seconds() * fastestKiB),
	}
	for _, group := range []struct{ usage, limit, stat, kills string }{
		{"memory.current", "memory.max", "memory.stat", "memory.events"},
		{"memory/memory.usage_in_bytes", "memory/memory.limit_in_bytes", "memory/memory.stat", "memory/memory.oom_control"},
	} {
		fd, err := syscall.Open(cgroups+group.usage, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		m.usage, m.stat, m.kills = fd, cgroups+group.stat, cgroups+group.kills
		if limit := numbersIn(cgroups + group.limit); len(limit) == 1 {
			m.limitKiB = min(noLimitKiB, uint64(limit[0])>>10)
		}
		m.killsSeen = m.number(m.kills, "oom_kill ")
		break
	}
	return m
}

// cores is how many the container may use at a time, in the mean, and for how much more processor time all at once: what
// it may have in one period at its end, and that of the next at its beginning.
func cores(cpus int) (mean float64, burst time.Duration) {
	most := float64(cpus)
	quota := numbersIn(cgroups + "cpu.max")
	if len(quota) == 0 {
		quota = append(numbersIn(cgroups+"cpu/cpu.cfs_quota_us"), numbersIn(cgroups+"cpu/cpu.cfs_period_us")...)
	}
	if len(quota) != 2 || quota[0] <= 0 || quota[1] <= 0 || quota[0] >= most*quota[1] {
		return most, 0
	}
	mean = quota[0] / quota[1]
	return mean, time.Duration(2*quota[0]*(1-mean/most))*time.Microsecond + time.Duration(cpus)*tick
}

// watch looks at memory if it is time. It returns how long it is until then.
func (m *memory) watch(p *program, now time.Time) time.Duration {
	if m.isNew {
		m.isNew, m.newUntil = false, now.Add(newFor)
		m.next = now.Add(min(scanNew, max(0, m.next.Sub(now))))
	}
	if wait := m.next.Sub(now); wait > 0 && !m.alarms.isRung {
		return wait
	}
	used := m.usedKiB()
	changed := max(used, m.scannedKiB) - min(used, m.scannedKiB)
	since := now.Sub(m.scanned)
	if m.usage < 0 || used > m.scannedKiB+m.headroomKiB/2 || since >= scanAtAll ||
		changed >= changeKiB && since >= scanEvery || now.Before(m.newUntil) && since >= scanNew {
		m.scan(p)
		m.scanned, m.scannedKiB = now, used
	}
	wait := m.pace(m.leftKiB(p, used) / 2)
	switch {
	case now.Before(m.newUntil):
		wait = min(wait, scanNew)
	case changed >= changeKiB || m.usage < 0:
		wait = min(wait, scanEvery)
	}
	m.next = now.Add(wait)
	return wait
}

// pace returns how long it is until the next look, if no alarm rings before, where so much may be taken meanwhile.
func (m *memory) pace(halfKiB uint64) time.Duration {
	if sure := timeToTake(halfKiB-min(halfKiB, m.burstKiB), m.rateKiB); m.burstKiB == 0 || sure >= seldom {
		m.alarms.set(0)
		halfKiB -= min(halfKiB, m.burstKiB)
	} else {
		running := max(1, min(len(m.alarms.timers), m.cpus))
		m.alarms.set(max(alarmAtLeast, timeToTake(halfKiB, fastestKiB)/time.Duration(running)))
		if m.alarms.cannot {
			return soonestUnalarmed
		}
	}
	return max(soonest, min(latest, timeToTake(halfKiB, m.rateKiB)))
}

func timeToTake(kib, perSecond uint64) time.Duration {
	return time.Duration(kib) * time.Second / time.Duration(perSecond)
}

// scan looks at each environment, ends those beyond their limits, and tells the invoker of new peaks.
func (m *memory) scan(p *program) {
	all := look()
	if len(p.unwanted(all)) > 0 {
		p.mustSweep = true
	}
	limit := p.settings.MemoryKiB
	m.headroomKiB = limit
	var running []int
	for _, e := range p.environments {
		first := e.processes()
		if len(first) == 0 || e.isEnding {
			continue
		}
		others := slices.Clone(first[1:])
		for _, pid := range first {
			others = append(others, all.below(pid)...)
		}
		if len(others) >= p.settings.Processes {
			e.end()
			p.mustSweep = true
			continue
		}
		running = append(append(running, first[0]), others...)
		e.memoryKiB = m.look(first[0], e)
		for _, pid := range others {
			e.memoryKiB += m.look(pid, nil)
		}
		if e.memoryKiB > limit && len(others) > 0 {
			// What they share was counted in each.
			e.memoryKiB = m.proportional(first[0])
			for _, pid := range others {
				e.memoryKiB += m.proportional(pid)
			}
		}
		if e.memoryKiB > limit {
			m.exceeded(p, e)
		} else {
			m.headroomKiB = min(m.headroomKiB, limit-e.memoryKiB)
		}
		if e.peakKiB >= e.toldKiB+peakStep && send(e.status, report{PeakKiB: e.peakKiB}) == nil {
			e.toldKiB = e.peakKiB
		}
	}
	m.alarms.keep(running)
}

func (m *memory) exceeded(p *program, e *environment) {
	e.outOfMemory = true
	e.end()
	p.mustSweep = true
	for _, pid := range e.processes() {
		syscall.Kill(pid, syscall.SIGKILL) // most likely it is one of these that takes more and more
	}
}

// leftKiB is what the container has left, without what the kernel can give back by itself. When that is nothing, the
// environment with the most memory ends: the kernel might take all of them, and this program with them.
func (m *memory) leftKiB(p *program, used uint64) uint64 {
	if plenty := m.rateKiB; used+marginKiB+plenty <= m.limitKiB {
		return plenty
	}
	changed := max(used, m.filesAtKiB) - min(used, m.filesAtKiB)
	if changed >= changeKiB || used+2*marginKiB > m.limitKiB { // below that nothing is taken from files
		m.filesKiB = (m.number(m.stat, "inactive_file ") + m.number(m.stat, "active_file ")) >> 10
		m.filesAtKiB = used
	}
	used -= min(used, m.filesKiB)
	if used+marginKiB <= m.limitKiB {
		return m.limitKiB - marginKiB - used
	}
	m.scan(p)
	var most *environment
	for _, e := range p.environments {
		if e.pid == 0 && len(e.extensions) == 0 {
			continue
		}
		if e.isEnding {
			return 0 // what it has will be there in a moment
		}
		if most == nil || e.memoryKiB > most.memoryKiB {
			most = e
		}
	}
	if most != nil {
		m.exceeded(p, most)
	}
	return 0
}

// look returns the memory of one process without pages that are shared with files, and notes the peak.
func (m *memory) look(pid int, e *environment) uint64 {
	var buffer [2048]byte
	text := statusOf(pid, buffer[:])
	if e != nil {
		e.peakKiB = max(e.peakKiB, numberIn(text, "VmHWM:"))
	}
	return numberIn(text, "RssAnon:") + numberIn(text, "RssShmem:")
}

func (m *memory) proportional(pid int) uint64 {
	var buffer [2048]byte
	text := readInto(fmt.Sprintf("/proc/%d/smaps_rollup", pid), buffer[:])
	if len(text) == 0 {
		return m.look(pid, nil)
	}
	return numberIn(text, "Pss_Anon:") + numberIn(text, "Pss_Shmem:")
}

// kernelKilled tells whether the kernel has killed for want of memory since the last time.
func (m *memory) kernelKilled() bool {
	now := m.number(m.kills, "oom_kill ")
	was := m.killsSeen
	m.killsSeen = now
	return now > was
}

func (m *memory) usedKiB() uint64 {
	if m.usage < 0 {
		return 0
	}
	var buffer [32]byte
	n, _ := syscall.Pread(m.usage, buffer[:], 0)
	used, _ := strconv.ParseUint(string(bytes.TrimSpace(buffer[:max(n, 0)])), 10, 64)
	return used >> 10
}

// numbersIn returns the numbers that a file of the kernel's consists of, or nothing.
func numbersIn(path string) []float64 {
	var buffer [64]byte
	var found []float64
	for _, word := range bytes.Fields(readInto(path, buffer[:])) {
		number, err := strconv.ParseFloat(string(word), 64)
		if err != nil {
			return nil
		}
		found = append(found, number)
	}
	return found
}

func (m *memory) number(path, name string) uint64 {
	if path == "" {
		return 0
	}
	var buffer [8192]byte
	return numberIn(readInto(path, buffer[:]), name)
}

// numberIn finds the number behind a name at the beginning of a line.
func numberIn(text []byte, name string) uint64 {
	for len(text) > 0 {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		if bytes.HasPrefix(line, []byte(name)) {
			if words := bytes.Fields(line[len(name):]); len(words) > 0 {
				number, _ := strconv.ParseUint(string(words[0]), 10, 64)
				return number
			}
		}
		text = rest
	}
	return 0
}
