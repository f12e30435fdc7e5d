package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"unsafe"
)

const (
	atRemovedir = 0x200
	oPath       = 0x200000
)

// Names that are read at a time: a folder may have more than there is memory for.
const chunk = 1024

// removing is held by who removes: two in one tree would each leave what the other one moves.
var removing sync.Mutex

// setAside gives what is at a path another name beside it, at once, however much it is, and removes that in its own time.
func setAside(path string) {
	aside := filepath.Join(filepath.Dir(path), ".left-"+random())
	if os.Rename(path, aside) == nil {
		go removeFolder(aside)
	}
}

// removeFolder removes a folder and all that is in it: however deep, without rights, and never along a link.
func removeFolder(folder string) {
	clear(folder)
	removing.Lock()
	defer removing.Unlock()
	os.Remove(folder) // a file or a link, if it was no folder
}

// clear removes all that is in a folder, in which nobody is any more, if it may be removed. Folders are moved up before
// they are emptied, for there may be more levels than names can have characters.
func clear(folder string) {
	removing.Lock()
	defer removing.Unlock()
	top, err := opened(syscall.Open(folder, oPath|syscall.O_DIRECTORY|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0))
	if err != nil {
		return
	}
	defer top.Close()
	var moved []string
	passes(top, func(name string) bool {
		changed := remove(top, name, &moved)
		for len(moved) > 0 {
			last := moved[len(moved)-1]
			moved = moved[:len(moved)-1]
			remove(top, last, &moved)
		}
		return changed
	})
}

// passes has something done with each name in a folder, again and again until that changes nothing.
func passes(folder *os.File, do func(name string) bool) {
	for changed := true; changed; folder.Seek(0, io.SeekStart) {
		changed = false
		for names, _ := folder.Readdirnames(chunk); len(names) > 0; names, _ = folder.Readdirnames(chunk) {
			for _, name := range names {
				changed = do(name) || changed
			}
		}
	}
}

// remove unlinks a file in the top folder, or a folder there, whose folders are moved beside it. It tells whether it is
// gone, and adds to moved; what that has no room for comes with the next pass.
func remove(top *os.File, name string, moved *[]string) bool {
	if err := unlinkAt(top, name, 0); err != syscall.EISDIR {
		return err == nil
	}
	folder, err := openedIn(top, name)
	if err != nil {
		return false
	}
	defer folder.Close()
	passes(folder, func(name string) bool {
		if err := unlinkAt(folder, name, 0); err != syscall.EISDIR {
			return err == nil
		}
		below, err := openedIn(folder, name)
		if err != nil {
			return false
		}
		below.Close() // who moves a folder must be allowed to write to it
		other := random()
		if syscall.Renameat(int(folder.Fd()), name, int(top.Fd()), other) != nil {
			return false
		}
		if len(*moved) < chunk {
			*moved = append(*moved, other)
		}
		return true
	})
	return unlinkAt(top, name, atRemovedir) == nil
}

func isEmpty(folder string) bool {
	opened, err := os.Open(folder)
	if err != nil {
		return true
	}
	defer opened.Close()
	_, err = opened.Readdirnames(1)
	return err != nil
}

func random() string {
	var number [8]byte
	rand.Read(number[:])
	return hex.EncodeToString(number[:])
}

func openedIn(parent *os.File, name string) (*os.File, error) {
	return opened(syscall.Openat(int(parent.Fd()), name, oPath|syscall.O_DIRECTORY|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0))
}

// opened makes of a path's descriptor one that can be read, whatever the folder's rights were.
func opened(path int, err error) (*os.File, error) {
	if err != nil {
		return nil, err
	}
	defer syscall.Close(path)
	os.Chmod(fmt.Sprintf("/proc/self/fd/%d", path), 0o700)
	fd, err := syscall.Openat(path, ".", syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), ""), nil
}

func unlinkAt(folder *os.File, name string, flags uintptr) error {
	text, err := syscall.BytePtrFromString(name)
	if err != nil {
		return err
	}
	_, _, errno := syscall.Syscall(syscall.SYS_UNLINKAT, folder.Fd(), uintptr(unsafe.Pointer(text)), flags)
	if errno != 0 {
		return errno
	}
	return nil
}
