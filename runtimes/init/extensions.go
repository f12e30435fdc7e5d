package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// One more than an environment may have, which is what the invoker then ends it for.
const mostExtensions = 11

// extension is a program that was started before the runtime of its environment, which waits for it to register.
type extension struct {
	name string
	pid  int
	// Where the new process writes why it could not become the program.
	report int
}

// extend starts what is in the environment's folder of extensions, in the order of their names. Where there are some, the
// runtime waits for the invoker's word.
func (p *program) extend(e *environment, told *start) error {
	if told.Extensions == nil {
		return nil
	}
	entries, _ := os.ReadDir(told.Extensions.Folder) // by name; if there is none, there are no extensions
	var names []string
	for _, entry := range entries {
		if !entry.IsDir() && len(names) < mostExtensions {
			names = append(names, entry.Name())
		}
	}
	if len(names) == 0 {
		return nil
	}
	var variables []string
	for name, value := range p.variables(told.Environment) {
		if !slices.Contains(told.Extensions.Without, name) {
			variables = append(variables, name+"="+value)
		}
	}
	for _, name := range names {
		if err := p.launchExtension(e, filepath.Join(told.Extensions.Folder, name), variables); err != nil {
			return err
		}
	}
	e.waiting = told
	p.memory.isNew = true
	return send(e.status, report{Extensions: names})
}

func (p *program) launchExtension(e *environment, path string, variables []string) error {
	var pipe [2]int
	if err := syscall.Pipe2(pipe[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		return err
	}
	defer syscall.Close(pipe[1])
	log := uintptr(e.fds[0])
	pid, err := launch(launched{Command: []string{path}, Directory: "/", Limits: p.settings.Limits, IsUsers: true, Reports: true},
		variables, []uintptr{0, log, log, uintptr(pipe[1])})
	if err != nil {
		syscall.Close(pipe[0])
		return err
	}
	e.extensions = append(e.extensions, &extension{name: filepath.Base(path), pid: pid, report: pipe[0]})
	return nil
}

// extensionEnded tells the invoker how, unless that has said before that all is to end.
func (e *environment) extensionEnded(x *extension, status syscall.WaitStatus) {
	e.extensions = slices.DeleteFunc(e.extensions, func(other *extension) bool { return other == x })
	var reason [maxAnswer / 2]byte
	n, _ := syscall.Read(x.report, reason[:])
	syscall.Close(x.report)
	said := how(status)
	if n > 0 {
		said = report{Error: string(reason[:n])}
	}
	said.Extension = x.name
	if !e.isEnding {
		send(e.status, said)
	}
	if e.isOver && len(e.extensions) == 0 {
		e.isEnding = true // nobody is left
	}
}

func (p *program) extensionOf(pid int) (*environment, *extension) {
	for _, e := range p.environments {
		for _, x := range e.extensions {
			if x.pid == pid {
				return e, x
			}
		}
	}
	return nil, nil
}

// processes are those of an environment that init started itself.
func (e *environment) processes() []int {
	var found []int
	if e.pid > 0 && !e.isOver {
		found = append(found, e.pid)
	}
	for _, x := range e.extensions {
		found = append(found, x.pid)
	}
	return found
}

// cannotBecome is what a new process says of a program that it could not become.
func cannotBecome(path string, err error) string {
	return fmt.Sprintf("fork/exec %s: %s", path, strings.ToLower(err.Error()))
}
