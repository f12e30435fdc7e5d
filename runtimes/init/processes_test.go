package main

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
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
