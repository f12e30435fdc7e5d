package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"
)

const (
	execWord = "exec"
	// When memory is short, the kernel takes environments before anything else.
	oomScore      = "1000"
	schedBatch    = 3
	rlimitNproc   = 6 // not among syscall's constants
	rlimInfinity  = ^uint64(0)
	exitNotFound  = 127
	exitNotStarts = 126
	reportFd      = 3
)

var limitNames = map[string]int{
	"core": syscall.RLIMIT_CORE, "data": syscall.RLIMIT_DATA, "fsize": syscall.RLIMIT_FSIZE,
	"nofile": syscall.RLIMIT_NOFILE, "nproc": rlimitNproc,
}

func known(limits map[string]uint64) bool {
	for name := range limits {
		if _, ok := limitNames[name]; !ok {
			return false
		}
	}
	return true
}

// launched is what become is told: it runs in the new process, where limits can be set that init must not have itself.
type launched struct {
	Command   []string          `json:"command"`
	Directory string            `json:"directory"`
	Limits    map[string]uint64 `json:"limits,omitempty"`
	IsUsers   bool              `json:"is_users,omitempty"`
	Reports   bool              `json:"reports,omitempty"` // on descriptor 3, why it could not become the command
}

// launch starts a process in a session of its own with exactly these variables and files, 0 being the null device.
func launch(what launched, variables []string, files []uintptr) (int, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	files[0] = null.Fd()
	text, err := json.Marshal(what)
	if err != nil {
		return 0, err
	}
	pid, err := syscall.ForkExec("/proc/self/exe", []string{"init", execWord, string(text)}, &syscall.ProcAttr{
		Dir: "/", Env: variables, Files: files,
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return 0, fmt.Errorf("no process could be made: %w", err)
	}
	return pid, nil
}

// become turns this process into the command.
func become(arguments []string) {
	var what launched
	if len(arguments) != 1 || json.Unmarshal([]byte(arguments[0]), &what) != nil || len(what.Command) == 0 {
		fail("init: exec is for its own use", exitNotStarts)
	}
	if what.IsUsers {
		os.WriteFile("/proc/self/oom_score_adj", []byte(oomScore), 0)
		// User code that gets an event waits until whoever sent it has nothing more to do on its processor.
		var priority int32
		syscall.RawSyscall(syscall.SYS_SCHED_SETSCHEDULER, 0, schedBatch, uintptr(unsafe.Pointer(&priority)))
	}
	if what.Reports {
		syscall.CloseOnExec(reportFd)
	}
	syscall.Umask(0o022)
	name := what.Directory
	err := os.Chdir(name)
	if err == nil {
		name = what.Command[0]
		limit(what.Limits)
		err = execute(what.Command)
	}
	if what.Reports {
		syscall.Write(reportFd, []byte(cannotBecome(name, err)))
		os.Exit(exitNotStarts)
	}
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTDIR) {
		fail(fmt.Sprintf("%s: %s", name, "No such file or directory"), exitNotFound)
	}
	fail(fmt.Sprintf("%s: %v", name, err), exitNotStarts)
}

func execute(command []string) error {
	if strings.Contains(command[0], "/") {
		return syscall.Exec(command[0], command, os.Environ())
	}
	err := error(syscall.ENOENT)
	for _, folder := range filepath.SplitList(os.Getenv("PATH")) {
		if tried := syscall.Exec(filepath.Join(folder, command[0]), command, os.Environ()); tried != syscall.ENOENT && tried != syscall.ENOTDIR {
			err = tried
		}
	}
	return err
}

func limit(limits map[string]uint64) {
	for name, value := range limits {
		var now syscall.Rlimit
		kind := limitNames[name]
		if syscall.Getrlimit(kind, &now) == nil {
			value = min(value, now.Max)
		}
		syscall.Setrlimit(kind, &syscall.Rlimit{Cur: value, Max: value})
	}
}

func fail(text string, code int) {
	fmt.Fprintln(os.Stderr, text)
	os.Exit(code)
}
