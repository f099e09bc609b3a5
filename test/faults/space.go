//go:build linux

package faults

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mtu is large, so that the wire has fewer packets to carry.
const mtu = 9000

// Space is a network namespace with one interface, which leads to the wire.
type Space struct {
	Name string
	Addr netip.Addr

	index int
	net   *os.File // the namespace; it lives as long as this, or a process in it
	tun   *os.File // the wire's end of the interface
}

// newSpace makes a namespace with an address; nobody else can be in it but by way of the Space.
func newSpace(name string, addr netip.Addr, index int) (*Space, error) {
	s := &Space{Name: name, Addr: addr, index: index}
	err := onThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		if s.net, err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())); err != nil {
			return err
		}
		if s.tun, err = openTUN("wire0"); err != nil {
			return fmt.Errorf("make a TUN interface: %w", err)
		}
		return ip(
			[]string{"link", "set", "lo", "up"},
			[]string{"addr", "add", addr.String() + "/24", "dev", "wire0"},
			[]string{"link", "set", "wire0", "mtu", fmt.Sprint(mtu), "up"},
		)
	})
	if err != nil {
		s.close()
		return nil, fmt.Errorf("namespace of %s: %w", name, err)
	}
	return s, nil
}

func (s *Space) close() {
	for _, f := range []*os.File{s.tun, s.net} {
		if f != nil {
			_ = f.Close()
		}
	}
}

func ip(commands ...[]string) error {
	for _, args := range commands {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
	}
	return nil
}

// openTUN makes an interface in the namespace of the calling thread.
func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	var request struct {
		name  [unix.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(request.name[:], name)
	request.flags = unix.IFF_TUN | unix.IFF_NO_PI
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&request))); errno != 0 {
		_ = unix.Close(fd)
		return nil, errno
	}
	return os.NewFile(uintptr(fd), name), nil
}

// onThread runs f on a thread of its own that is back in its namespace afterwards; if it cannot go back it ends.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		if err != nil {
			runtime.UnlockOSThread()
			done <- err
			return
		}
		defer home.Close()
		err = f()
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// in runs f in the namespace. Sockets stay in the namespace they were made in.
func (s *Space) in(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(s.net.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the namespace of %s: %w", s.Name, err)
		}
		return f()
	})
}

// Dial dials from the namespace.
func (s *Space) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = s.in(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens in the namespace.
func (s *Space) Listen(network, address string) (listener net.Listener, err error) {
	err = s.in(func() (err error) {
		listener, err = net.Listen(network, address)
		return err
	})
	return listener, err
}

// Client makes requests from the namespace.
func (s *Space) Client() *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: s.Dial, DisableKeepAlives: true}}
}

// Prefix lets a program run in the namespace, under the id it was started with.
func (s *Space) Prefix() []string {
	return []string{"nsenter", fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), s.net.Fd())}
}

// At is an address in the namespace.
func (s *Space) At(port int) string { return netip.AddrPortFrom(s.Addr, uint16(port)).String() }
