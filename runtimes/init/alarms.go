package main

import (
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

const (
	mostAlarms = 64
	// Among the signals that nobody sends for any other reason; a stray one costs one look.
	alarmSignal = syscall.SIGXCPU
)

// alarms tell when a process has spent some processor time, whenever that is: the kernel has timers on the clock of
// other processes too. Who spends none rings none, so they cost nothing at rest.
type alarms struct {
	timers map[int]uintptr // by process id
	after  time.Duration   // what they are set to; 0: none is
	isRung bool
	heard  time.Time
	cannot bool // the kernel has no such timers, or has no more of them
}

// keep has timers for these processes and no other.
func (a *alarms) keep(pids []int) {
	if len(pids) > mostAlarms {
		pids = pids[:mostAlarms]
	}
	wanted := make(map[int]uintptr, len(pids))
	a.cannot = false
	for _, pid := range pids {
		if timer, ok := a.timers[pid]; ok {
			wanted[pid] = timer
		} else if timer, err := timerOn(pid); err == nil {
			wanted[pid] = timer
			if a.after > 0 {
				setTimer(timer, a.after)
			}
		} else if err != syscall.EINVAL || syscall.Kill(pid, 0) == nil { // else it has ended
			a.cannot = true
		}
	}
	for pid, timer := range a.timers {
		if _, ok := wanted[pid]; !ok {
			syscall.Syscall(syscall.SYS_TIMER_DELETE, timer, 0, 0)
		}
	}
	a.timers = wanted
}

// set has each ring when its process has spent that much from now on; 0: none. What is about the same is left as it is.
func (a *alarms) set(after time.Duration) {
	if after == a.after && !a.isRung || !a.isRung && after > 0 && a.after > 0 && after > a.after*3/4 && after < a.after*2 {
		return
	}
	a.after, a.isRung = after, false
	for pid, timer := range a.timers {
		if setTimer(timer, after) != nil { // it has ended, and another may have its number
			syscall.Syscall(syscall.SYS_TIMER_DELETE, timer, 0, 0)
			delete(a.timers, pid)
		}
	}
}

// mayHaveRung is called for every signal as it interrupts the wait for events, because what kind it is would take two
// more threads to be told, each of which may have to wait for a processor; and again for an alarm, when that is told.
func (a *alarms) mayHaveRung() {
	if now := time.Now(); a.after > 0 && now.Sub(a.heard) >= soonest {
		a.isRung, a.heard = true, now
	}
}

// runSoon asks the kernel to let this thread run soon rather than long, ahead of those that take memory, and not to do
// so for what it starts. Kernels before 6.12 don't know of it.
func runSoon() {
	const resetOnFork, atOnce = 1, 100 * time.Microsecond
	attributes := struct {
		size, policy              uint32
		flags                     uint64
		nice                      int32
		priority                  uint32
		runtime, deadline, period uint64
	}{size: 48, flags: resetOnFork, runtime: uint64(atOnce)}
	if number := sysSchedSetattr[runtime.GOARCH]; number > 0 {
		syscall.RawSyscall(number, 0, uintptr(unsafe.Pointer(&attributes)), 0)
	}
}

// Not among syscall's constants.
var sysSchedSetattr = map[string]uintptr{"amd64": 314, "arm64": 274}

func timerOn(pid int) (uintptr, error) {
	const ofProcess = 2 // CPUCLOCK_SCHED, of all its threads
	clock := ^pid<<3 | ofProcess
	event := struct {
		value          uintptr
		signal, notify int32
		_              [12]int32
	}{signal: int32(alarmSignal)}
	var timer int32
	_, _, errno := syscall.Syscall(syscall.SYS_TIMER_CREATE, uintptr(clock), uintptr(unsafe.Pointer(&event)),
		uintptr(unsafe.Pointer(&timer)))
	if errno != 0 {
		return 0, errno
	}
	return uintptr(timer), nil
}

func setTimer(timer uintptr, after time.Duration) error {
	setting := [2]syscall.Timespec{{}, syscall.NsecToTimespec(int64(after))} // not again; once
	_, _, errno := syscall.Syscall6(syscall.SYS_TIMER_SETTIME, timer, 0, uintptr(unsafe.Pointer(&setting)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
