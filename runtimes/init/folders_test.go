package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Environments are started by this program's own file, which here is the tests'.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == execWord {
		become(os.Args[2:])
	}
	os.Exit(m.Run())
}

// What user code can leave behind: more names than are read at a time, folders without rights, more levels than a path
// may have characters, links to what is not theirs.
func TestClear(t *testing.T) {
	folder, kept := t.TempDir(), filepath.Join(t.TempDir(), "kept")
	os.WriteFile(kept, nil, 0o600)
	for number := range chunk + 100 {
		os.WriteFile(filepath.Join(folder, fmt.Sprint("file", number)), nil, 0o400)
		os.MkdirAll(filepath.Join(folder, "many", fmt.Sprint("folder", number), "below"), 0o700)
	}
	os.WriteFile(filepath.Join(folder, strings.Repeat("n", 255)), nil, 0o400)
	os.Symlink(kept, filepath.Join(folder, "link"))
	os.Symlink(filepath.Dir(kept), filepath.Join(folder, "many", "link"))
	syscall.Mkfifo(filepath.Join(folder, ".fifo"), 0o600)
	deep(t, folder, 1500)
	os.Chmod(filepath.Join(folder, "many", "folder1"), 0)
	os.Chmod(filepath.Join(folder, "many"), 0)
	clear(folder)
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("%v %v", left, err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}

func TestSetAside(t *testing.T) {
	folder, kept := t.TempDir(), t.TempDir()
	os.WriteFile(filepath.Join(kept, "file"), nil, 0o600)
	for name, make := range map[string]func(string) error{
		"folder": func(path string) error { return os.MkdirAll(filepath.Join(path, "below"), 0o700) },
		"file":   func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"link":   func(path string) error { return os.Symlink(kept, path) },
		"none":   func(string) error { return nil },
	} {
		path := filepath.Join(folder, name)
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		setAside(path)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Errorf("%s: the name is not free at once: %v", name, err)
		}
	}
	eventually(t, "what was set aside is gone", func() bool {
		left, _ := filepath.Glob(filepath.Join(folder, ".left-*"))
		return len(left) == 0
	})
	if names, _ := os.ReadDir(folder); len(names) != 4 {
		t.Errorf("%v", names)
	}
	if _, err := os.Stat(filepath.Join(kept, "file")); err != nil {
		t.Error(err)
	}
}

// The next environment begins when nothing of the last ones is there, and the loop does not wait for that.
func TestNoneBeginsBeforeAllIsGone(t *testing.T) {
	p, err := prepare("")
	if err != nil {
		t.Fatal(err)
	}
	tmp, was := t.TempDir(), sharedMemory
	sharedMemory = t.TempDir()
	defer func() { sharedMemory = was }()
	p.isFirst = true
	p.settings = &settings{Tmp: tmp, TaskRoot: "/", Command: []string{"/bin/true"}, MemoryKiB: 1 << 17, Processes: 9}
	for _, folder := range []string{tmp, sharedMemory} {
		os.WriteFile(filepath.Join(folder, "left"), nil, 0o600)
	}
	removing.Lock() // it takes long
	p.tidy()
	var waiting []*environment
	for number := range 2 {
		ours, theirs, err := socketPair()
		if err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(ours)
		null, err := syscall.Open(os.DevNull, syscall.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		told := &start{Directory: filepath.Join(tmp, fmt.Sprint("environment-", number))}
		if err := p.start(told, []int{theirs, null}); err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, p.environments[number])
	}
	p.tick(p.goneSince)
	if waiting[0].pid != 0 || waiting[1].pid != 0 {
		t.Error("it began beside what was left")
	}
	p.statusClosed(waiting[1])
	p.sweep()
	if len(p.environments) != 1 {
		t.Error("who is not wanted any more is still waited for")
	}
	removing.Unlock()
	eventually(t, "the word that all is gone", func() bool {
		p.handlers[int(p.signals.Fd())]()
		return !p.isTidying
	})
	if waiting[0].pid == 0 || waiting[1].pid != 0 {
		t.Error("only who is still wanted begins")
	}
	if left, _ := os.ReadDir(tmp); len(left) != 1 || left[0].Name() != "environment-0" {
		t.Errorf("%v", left)
	}
	if !isEmpty(sharedMemory) {
		t.Error("shared memory is not empty")
	}
	eventually(t, "its end", func() bool { p.reap(); p.sweep(); return len(p.environments) == 0 })
}

func deep(t *testing.T, folder string, levels int) {
	t.Helper()
	at, err := syscall.Open(folder, syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
	for level := 0; err == nil && level < levels; level++ {
		if err = syscall.Mkdirat(at, "deep", 0o700); err == nil {
			below := -1
			below, err = syscall.Openat(at, "deep", syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
			syscall.Close(at)
			at = below
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	syscall.Close(at)
}
