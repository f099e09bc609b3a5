package cluster

// Compact asks for a snapshot now, however little has been applied since the last one, and returns at once. It
// is for a log that is full: nothing is applied to it any more, so bytes applied trigger no snapshot, yet what
// the floor has passed meanwhile can only be given back below one.
func (n *Node) Compact() {
	inst := n.current.Load()
	if inst == nil {
		return
	}
	select {
	case inst.machine.due <- struct{}{}:
	default: // one is due already
	}
}
