package main

import (
	"os/exec"
	"testing"
	"time"
)

// An alarm rings when its process has spent so much, and not for as long as it rests.
func TestAlarms(t *testing.T) {
	p, err := prepare("")
	if err != nil {
		t.Fatal(err)
	}
	busy, resting := exec.Command("/bin/sh", "-c", "read word; while :; do :; done"), exec.Command("/bin/sleep", "60")
	word, err := busy.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []*exec.Cmd{busy, resting} {
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		defer command.Wait()
		defer command.Process.Kill()
	}
	a := &p.memory.alarms
	a.keep([]int{busy.Process.Pid, resting.Process.Pid})
	if a.cannot || len(a.timers) != 2 {
		t.Fatalf("%+v", a)
	}
	a.set(50 * time.Millisecond)
	time.Sleep(300 * time.Millisecond)
	rings := func() bool { p.handlers[int(p.signals.Fd())](); return a.isRung }
	word.Write([]byte("\n"))
	eventually(t, "the alarm", rings)
	a.set(time.Hour)
	if a.isRung {
		t.Error("it was heard")
	}
	busy.Process.Kill()
	busy.Wait()
	a.set(time.Millisecond)
	a.keep([]int{resting.Process.Pid})
	if len(a.timers) != 1 || a.cannot {
		t.Errorf("%+v", a)
	}
}

// Where what is left is more than a burst could take, looks are enough; where it is less, alarms are set, and a function
// that does nothing is not looked at more often for that.
func TestBursts(t *testing.T) {
	group(t, map[string]string{"memory.current": "0\n", "memory.max": "167772160\n", "cpu.max": "7500 100000\n"})
	m := openMemory()
	if m.burstKiB < fastestKiB/1000*15*9/10 {
		t.Errorf("%d KiB in the time of two periods", m.burstKiB)
	}
	if wait := m.pace(2*m.burstKiB + m.rateKiB); wait < 100*time.Millisecond || m.alarms.after != 0 {
		t.Errorf("%v until the next look where much is left, alarms after %v", wait, m.alarms.after)
	}
	if wait := m.pace(32 << 10); wait < 50*time.Millisecond || m.alarms.after > 10*time.Millisecond || m.alarms.after == 0 {
		t.Errorf("%v until the next look in reach of a burst, alarms after %v", wait, m.alarms.after)
	}
	for left := uint64(0); left < 1<<21; left += 1 << 12 {
		if wait := m.pace(left); wait < seldom && left > 1<<16 {
			t.Errorf("%v until the next look where %d KiB are left", wait, left)
		}
	}
	m.alarms.cannot = true
	if wait := m.pace(32 << 10); wait > soonestUnalarmed {
		t.Errorf("%v until the next look without alarms", wait)
	}
	group(t, map[string]string{"memory.current": "0\n", "memory.max": "167772160\n", "cpu.max": "max 100000\n"})
	if m := openMemory(); m.burstKiB != 0 {
		t.Errorf("a burst of %d KiB, where nothing is saved up", m.burstKiB)
	}
}
