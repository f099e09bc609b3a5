package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Ports are taken from [portFirst, portEnd): above the well-known ones and below the range from which Linux
// picks ports for outgoing connections, which could otherwise take the port of a node that is down for a moment.
const (
	portFirst = 12000
	portEnd   = 32000
)

var ports = struct {
	sync.Mutex
	next int
}{next: portFirst + rand.IntN(portEnd-portFirst)}

// claimed are held as long as this process lives.
var claimed []net.Listener

// claim takes a port among the test processes of this machine: go test runs several at once, and a port that one of them has
// chosen is free until its node has started.
func claim(port int) bool {
	l, err := net.Listen("unix", fmt.Sprintf("@highlander-test-port-%d", port))
	if err == nil {
		claimed = append(claimed, l)
	}
	return err == nil
}

// FreePort returns a port of 127.0.0.1 that nobody listens on and that no test process that runs has been given.
func FreePort() int {
	ports.Lock()
	defer ports.Unlock()
	for range portEnd - portFirst {
		port := ports.next
		if ports.next++; ports.next == portEnd {
			ports.next = portFirst
		}
		if l, err := net.Listen("tcp", Address(port)); err == nil {
			_ = l.Close()
			if claim(port) {
				return port
			}
		}
	}
	panic("BUG: no free port")
}

// Address is the address of a port on the loopback interface.
func Address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
