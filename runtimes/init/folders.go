package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"
)

const (
	atRemovedir = 0x200
	oPath       = 0x200000
)

// clear removes what is in a folder, in which nobody is any more: at once out of sight, then for good.
func clear(folder string) {
	left, err := os.ReadDir(folder)
	if err != nil || len(left) == 0 {
		return
	}
	aside := filepath.Join(folder, ".left-"+random())
	if os.Mkdir(aside, 0o700) != nil {
		return
	}
	for _, entry := range left {
		os.Rename(filepath.Join(folder, entry.Name()), filepath.Join(aside, entry.Name()))
	}
	go removeFolder(aside)
}

// removeFolder removes a folder and all that is in it: however deep, without rights, and never along a link. What lies
// deeper is moved up before it is emptied, for there may be more levels than names can have characters.
func removeFolder(folder string) {
	top, err := opened(syscall.Open(folder, oPath|syscall.O_DIRECTORY|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0))
	if err != nil {
		os.Remove(folder) // a file or a link, or nothing at all
		return
	}
	defer top.Close()
	for waiting := emptied(top, top); len(waiting) > 0; {
		name := waiting[len(waiting)-1]
		waiting = waiting[:len(waiting)-1]
		if below, err := openedIn(top, name); err == nil {
			waiting = append(waiting, emptied(below, top)...)
			below.Close()
			unlinkAt(top, name, atRemovedir)
		}
	}
	os.Remove(folder)
}

// emptied unlinks a folder's files and moves its folders to the top. It returns the names that they have there.
func emptied(folder, top *os.File) []string {
	var found []string
	names, _ := folder.Readdirnames(-1)
	for _, name := range names {
		if unlinkAt(folder, name, 0) != syscall.EISDIR {
			continue
		}
		moved := name
		if folder != top {
			moved = random()
			if below, err := openedIn(folder, name); err == nil {
				below.Close() // who moves a folder must be allowed to write to it
				syscall.Renameat(int(folder.Fd()), name, int(top.Fd()), moved)
			}
		}
		found = append(found, moved)
	}
	return found
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
