// Command init is the first process of a runtime's container. On the invoker's word it starts environments, holds them
// to their limits, ends all that descends from them, and says how they ended. README.md has the protocol.
//
//	init [SOCKET]   SOCKET is the invoker's, /run/lateen/init.sock unless said otherwise
//	init take FILE  copies the entry point of AWS's base images there
//
// Everything happens on one thread, in the loop of run; a goroutine passes signals to it, others remove folders.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
)

const (
	socketPath = "/run/lateen/init.sock"
	// Without the invoker for so long nobody needs this container; another one may have more luck.
	goneFor = 5 * time.Minute
	// The invoker's container comes first, and its socket a moment later.
	connectEvery = 5 * time.Millisecond
	// A fork server takes a millisecond; one that takes this long was stopped or is stuck.
	forkWithin = 5 * time.Second
	// Among signals' numbers, which begin with 1.
	tidied = 0
)

func init() {
	// A process' death signal goes with the thread that started it, so this one has to stay.
	runtime.LockOSThread()
}

func main() {
	path := socketPath
	if len(os.Args) > 1 && os.Args[0] != entryPoint {
		switch os.Args[1] {
		case execWord:
			become(os.Args[2:])
		case takeWord:
			if err := take(os.Args[2:]); err != nil {
				fail(err.Error(), 1)
			}
			return
		}
		path = os.Args[1]
	}
	p, err := prepare(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		os.Exit(1)
	}
	os.Exit(p.run())
}

// program is all that init knows.
type program struct {
	path         string
	epoll        int
	handlers     map[int]func()
	signals      *os.File
	wake         *os.File // its other end
	isFirst      bool     // of a container, which is all its own
	connection   int
	goneSince    time.Time
	settings     *settings
	isReady      bool
	isStopping   bool
	isReleased   bool
	isTidying    bool
	mustSweep    bool
	sweeps       int // in a row
	forks        *forkServer
	environments []*environment
	memory       memory
	buffer       []byte
	image        image
}

func prepare(path string) (*program, error) {
	if err := prctl(prSetDumpable, 0); err != nil { // before anything that is worth looking at
		return nil, err
	}
	if err := prctl(prSetChildSubreaper, 1); err != nil {
		return nil, err
	}
	debug.SetGCPercent(20)
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	p := &program{
		path: path, epoll: epoll, connection: -1, goneSince: time.Now(), isFirst: os.Getpid() == 1,
		handlers: map[int]func(){}, buffer: make([]byte, maxMessage), image: imageOfContainer(),
	}
	p.memory = openMemory()
	makeThreads()
	runSoon()
	return p, p.takeSignals()
}

// makeThreads has the threads made that the program may ever need: where a function has taken every process that its
// user may have, the Go runtime would end the program for want of one.
func makeThreads() {
	var made, over sync.WaitGroup
	over.Add(1)
	for range 8 {
		made.Add(1)
		go func() {
			runtime.LockOSThread()
			made.Done()
			over.Wait()
			runtime.UnlockOSThread()
		}()
	}
	made.Wait()
	over.Done()
}

// takeSignals has every signal taken: as PID 1, what is not handled is ignored, but Go's runtime has handlers for all of
// them, some of which end the program.
func (p *program) takeSignals() error {
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	p.signals, p.wake = reader, writer
	taken := make(chan os.Signal, 64)
	signal.Notify(taken)
	go func() {
		for number := range taken {
			if number != syscall.SIGURG { // the runtime's own, for its threads
				writer.Write([]byte{byte(number.(syscall.Signal))})
			}
		}
	}()
	return p.watch(int(reader.Fd()), func() {
		var numbers [64]byte
		n, _ := syscall.Read(int(reader.Fd()), numbers[:])
		for _, number := range numbers[:max(n, 0)] {
			switch syscall.Signal(number) {
			case tidied:
				p.tidied()
			case syscall.SIGTERM, syscall.SIGINT:
				p.stop()
			case syscall.SIGCHLD:
				p.reap()
			case alarmSignal:
				p.memory.alarms.mayHaveRung()
			}
		}
	})
}

func (p *program) run() int {
	events := make([]syscall.EpollEvent, 16)
	for {
		wait := p.tick(time.Now())
		if p.isReleased && len(p.environments) == 0 && !p.mustSweep {
			return 0
		}
		if p.connection < 0 && time.Since(p.goneSince) > goneFor {
			return 1
		}
		n, err := syscall.EpollWait(p.epoll, events, wait)
		if err != nil && err != syscall.EINTR {
			fmt.Fprintln(os.Stderr, "init:", err)
			return 1
		}
		if err == syscall.EINTR {
			p.memory.alarms.mayHaveRung()
		}
		for _, event := range events[:max(n, 0)] {
			if handle := p.handlers[int(event.Fd)]; handle != nil {
				handle()
			}
		}
	}
}

// tick does what is due. It returns for how many milliseconds nothing will be, or -1.
func (p *program) tick(now time.Time) int {
	wait := time.Duration(-1)
	soonest := func(d time.Duration) {
		if wait < 0 || d < wait {
			wait = d
		}
	}
	if p.mustSweep {
		p.sweep()
	}
	if p.connection < 0 && len(p.environments) == 0 && !p.mustSweep && !p.isReleased {
		if !p.connect() {
			soonest(connectEvery)
		}
	}
	if p.forks != nil && p.forks.tick(p, now) {
		soonest(time.Millisecond)
	}
	if p.settings != nil && len(p.environments) > 0 {
		soonest(p.memory.watch(p, now))
	}
	if p.mustSweep {
		soonest(p.untilSweep())
	}
	if wait < 0 {
		return -1
	}
	return int((wait + time.Millisecond - 1) / time.Millisecond)
}

func (p *program) watch(fd int, handle func()) error {
	p.handlers[fd] = handle
	event := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP, Fd: int32(fd)}
	return syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_ADD, fd, &event)
}

// forget closes a descriptor that was watched.
func (p *program) forget(fd int) {
	if p.handlers[fd] != nil {
		delete(p.handlers, fd)
		// Closing alone is not enough where another process has the same socket.
		syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_DEL, fd, &syscall.EpollEvent{})
	}
	syscall.Close(fd)
}

const (
	prSetPdeathsig      = 1
	prSetDumpable       = 4
	prSetChildSubreaper = 36
)

func prctl(option, value uintptr) error {
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, option, value, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("prctl %d: %w", option, errno)
	}
	return nil
}
