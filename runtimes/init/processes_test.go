package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// A fork server was killed between the second of its forks and the end of the process in between, and the environment
// has announced itself by then.
func TestWhatIsWantedBelowAnOrphanStays(t *testing.T) {
	own, between, wanted, ending := os.Getpid(), 1_000_001, 1_000_002, 1_000_004
	p := &program{environments: []*environment{
		{pid: wanted, announce: -1}, {pid: ending, announce: -1, isEnding: true},
	}}
	running := family{
		own: {between, ending}, between: {wanted}, wanted: {1_000_003}, ending: {1_000_005},
	}
	found := p.unwanted(running)
	slices.Sort(found)
	if want := []int{between, ending, 1_000_005}; !slices.Equal(found, want) {
		t.Errorf("unwanted: %v, not %v", found, want)
	}
}

// What an environment said before its fork server died is heard; what it says later fails, so that it ends by itself.
func TestAnAnnouncementIsHeardOrRefused(t *testing.T) {
	p, err := prepare("")
	if err != nil {
		t.Fatal(err)
	}
	p.settings = &settings{ForkServer: []string{"/bin/sleep", "20"}}
	said, silent := forked(t, p), forked(t, p)
	early, late := said.announceEnd, silent.announceEnd
	said.announceEnd, silent.announceEnd = -1, -1 // sent, and with the children now
	p.forks.isReady = true
	if err := syscall.Sendmsg(early, []byte(`{"pid": 1000001}`), nil, nil, 0); err != nil {
		t.Fatal(err)
	}
	p.forks.end(p)
	if said.pid != 1_000_001 || said.announce >= 0 {
		t.Errorf("process %d, announce %d", said.pid, said.announce)
	}
	if err := syscall.Sendmsg(late, []byte(`{"pid": 1000002}`), nil, nil, syscall.MSG_NOSIGNAL); err != syscall.EPIPE {
		t.Errorf("too late, and it was not refused: %v", err)
	}
	if silent.pid != 0 || silent.tries != 1 || p.forks == nil {
		t.Errorf("process %d, %d tries", silent.pid, silent.tries)
	}
	silent.isEnding = true // no further one
	p.forks.end(p)
	if p.forks != nil || len(p.environments) != 1 {
		t.Errorf("%d environments", len(p.environments))
	}
}

const withoutFirst = "LATEEN_TEST_WITHOUT_FIRST_THREAD"

// What a test starts of itself: it takes 64 MiB, and then its first thread ends and the others do not.
func init() {
	if os.Getenv(withoutFirst) == "" {
		return
	}
	taken := make([]byte, 64<<20)
	for i := 0; i < len(taken); i += 4096 {
		taken[i] = 1
	}
	go func() {
		time.Sleep(time.Minute)
		taken[0]++
		os.Exit(0)
	}()
	syscall.Syscall(syscall.SYS_EXIT, 0, 0, 0)
}

// It looks as if it had ended, and does all that a process can.
func TestAProcessWithoutItsFirstThread(t *testing.T) {
	started := func(path string) int {
		command := exec.Command(path)
		command.Env = []string{withoutFirst + "=1"}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		pid := command.Process.Pid
		t.Cleanup(func() { syscall.Kill(pid, syscall.SIGKILL) })
		eventually(t, "the end of its first thread", func() bool {
			var buffer [512]byte
			return bytes.Contains(readInto(fmt.Sprintf("/proc/%d/stat", pid), buffer[:]), []byte(") Z "))
		})
		return pid
	}
	ended, running := started("/bin/true"), started("/proc/self/exe")
	found := look()[os.Getpid()]
	if !slices.Contains(found, running) || slices.Contains(found, ended) {
		t.Errorf("%d ended and %d runs, but what runs is %v", ended, running, found)
	}
	var m memory
	e := &environment{}
	if has := m.look(running, e); has < 64<<10 || e.peakKiB < 64<<10 {
		t.Errorf("%d KiB, at most %d", has, e.peakKiB)
	}
	if has := m.proportional(running); has < 64<<10 {
		t.Errorf("%d KiB of its own", has)
	}
	if has := m.look(ended, nil); has != 0 {
		t.Errorf("what has ended has %d KiB", has)
	}
	p := &program{}
	eventually(t, "its end", func() bool { p.sweep(); return syscall.Kill(running, 0) == syscall.ESRCH })
}

func forked(t *testing.T, p *program) *environment {
	ours, _, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	e := &environment{status: ours, directory: filepath.Join(t.TempDir(), "none"), announce: -1, announceEnd: -1}
	p.environments = append(p.environments, e)
	if err := p.fork(e); err != nil {
		t.Fatal(err)
	}
	return e
}
