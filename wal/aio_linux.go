package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// flusher syncs files without a thread that waits for it. A blocking fdatasync keeps its thread in the kernel for
// as long as a disk takes; the runtime's monitor wakes up every 20 µs meanwhile to see whether the thread's processor is
// needed elsewhere, and at some hundred syncs a second that costs more than the syncs. Linux' asynchronous I/O takes the
// same request (IOCB_CMD_FDSYNC, io_submit(2)) and says on an eventfd when it is done, for which the writer waits
// like for a socket.
type flusher struct {
	mu      sync.Mutex // held from a submission to its completion
	context uintptr    // aio_context_t
	event   int        // eventfd
	done    *os.File   // the same, for the runtime to wait on; its Fd must not be asked for: that would make it block
}

// The kernel's struct iocb and struct io_event, linux/aio_abi.h.
//
//nolint:unused // the layout is the kernel's
type (
	iocb struct {
		data     uint64
		key      [2]uint32 // aio_key and aio_rw_flags, in either order
		opcode   uint16
		priority int16
		file     uint32
		buffer   uint64
		bytes    uint64
		offset   int64
		reserved uint64
		flags    uint32
		event    uint32
	}
	ioEvent struct {
		data, object      uint64
		result, secondary int64
	}
)

const (
	iocbDatasync = 3 // IOCB_CMD_FDSYNC
	iocbEvent    = 1 // IOCB_FLAG_RESFD
)

// asynchronous is the process's flusher; nil where the kernel offers none, or a sandbox forbids it.
var asynchronous = sync.OnceValue(func() *flusher {
	f := new(flusher)
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&f.context)), 0); errno != 0 {
		return nil
	}
	var err error
	if f.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		_, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, f.context, 0, 0)
		return nil
	}
	f.done = os.NewFile(uintptr(f.event), "eventfd")
	return f
})

// errUnsupported says that the file's system does not take the request: sync it the plain way.
var errUnsupported = errors.New("wal: no asynchronous sync")

// sync is fdatasync(2).
func (f *flusher) sync(file *os.File) error {
	if err := f.submit(file); err != nil {
		return err
	}
	var count [8]byte
	if _, err := f.done.Read(count[:]); err != nil {
		return fmt.Errorf("wait for a sync: %w", err)
	}
	if n := binary.NativeEndian.Uint64(count[:]); n != 1 {
		return fmt.Errorf("wait for a sync: %d have ended, want 1", n)
	}
	var event ioEvent
	got, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, f.context, 1, 1, uintptr(unsafe.Pointer(&event)), 0, 0)
	switch {
	case errno != 0:
		return fmt.Errorf("result of a sync: %w", errno)
	case got != 1:
		return fmt.Errorf("result of a sync: got %d, want 1", got)
	case event.result < 0:
		return unix.Errno(-event.result)
	}
	return nil
}

func (f *flusher) submit(file *os.File) error {
	request := &iocb{opcode: iocbDatasync, file: uint32(file.Fd()), flags: iocbEvent, event: uint32(f.event)}
	list := &request
	for {
		_, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, f.context, 1, uintptr(unsafe.Pointer(list)))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
			continue
		case unix.EAGAIN, unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP, unix.EPERM:
			return errUnsupported
		}
		return fmt.Errorf("submit a sync: %w", errno)
	}
}
