package main

import (
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
