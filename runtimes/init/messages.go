package main

import (
	"encoding/json"
	"errors"
	"syscall"
)

const (
	maxMessage  = 128 * 1024
	maxAnswer   = 4096
	maxFds      = 3
	protocol    = 1
	wrapper     = "AWS_LAMBDA_EXEC_WRAPPER"
	channelName = "_LATEEN_CHANNEL_FD"
	channelFd   = 3
)

// settings come once on a connection, before anything is started. An image of the user's has variables and a folder of its
// own: Inherit is then there, with what is said where neither those nor a start's do, and TaskRoot may be empty.
type settings struct {
	ForkServer []string          `json:"fork_server"`
	Command    []string          `json:"command"`
	TaskRoot   string            `json:"task_root"`
	Tmp        string            `json:"tmp"`
	MemoryKiB  uint64            `json:"memory_kib"`
	Processes  int               `json:"processes"`
	Limits     map[string]uint64 `json:"limits"`
	Inherit    map[string]string `json:"inherit"`
}

// start asks for one environment. Program, if it is said, is in the place of the command's first word.
type start struct {
	Environment map[string]string `json:"environment"`
	Directory   string            `json:"directory"`
	Program     string            `json:"program"`
	Fork        bool              `json:"fork"`
	Extensions  *extensionFolder  `json:"extensions"`
}

// extensionFolder says where programs are that are started before the runtime, without some of its variables.
type extensionFolder struct {
	Folder  string   `json:"folder"`
	Without []string `json:"without"`
}

// wish is what the invoker says on a status socket.
type wish struct {
	Run       bool `json:"run"`
	Terminate bool `json:"terminate"`
}

// order is a message of the invoker's: one of its members is there.
type order struct {
	Settings *settings `json:"settings"`
	Start    *start    `json:"start"`
	Release  bool      `json:"release"`
}

// report is what is said of an environment on its status socket.
type report struct {
	Started     int    `json:"started,omitempty"`
	Error       string `json:"error,omitempty"`
	Code        *int   `json:"code,omitempty"`
	Signal      int    `json:"signal,omitempty"`
	PeakKiB     uint64 `json:"peak_kib,omitempty"`
	OutOfMemory bool   `json:"out_of_memory,omitempty"`

	Extensions []string `json:"extensions,omitempty"`
	Extension  string   `json:"extension,omitempty"`
	Runtime    *report  `json:"runtime,omitempty"`
}

var errMalformed = errors.New("malformed message")

// receive takes one message with its descriptors, which are close-on-exec. It never waits: nothing there is EAGAIN, the
// end of the stream a message of no bytes.
func receive(fd int, buffer []byte) ([]byte, []int, error) {
	var ancillary [64]byte
	for {
		n, size, flags, _, err := syscall.Recvmsg(fd, buffer, ancillary[:], syscall.MSG_DONTWAIT|syscall.MSG_CMSG_CLOEXEC)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		var fds []int
		if messages, err := syscall.ParseSocketControlMessage(ancillary[:size]); err == nil {
			for i := range messages {
				if given, err := syscall.ParseUnixRights(&messages[i]); err == nil {
					fds = append(fds, given...)
				}
			}
		}
		if flags&(syscall.MSG_TRUNC|syscall.MSG_CTRUNC) != 0 || len(fds) > maxFds {
			closeAll(fds)
			return nil, nil, errMalformed
		}
		return buffer[:n], fds, nil
	}
}

func send(fd int, message any, fds ...int) error {
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = syscall.UnixRights(fds...)
	}
	for {
		err = syscall.Sendmsg(fd, text, rights, nil, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
		if err != syscall.EINTR {
			return err
		}
	}
}

func socketPair() (ours, theirs int, err error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	return pair[0], pair[1], err
}

func closeAll(fds []int) {
	for _, fd := range fds {
		syscall.Close(fd)
	}
}
