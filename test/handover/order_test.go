package handover

import "testing"

// Nobody is silent: a third server with a bigger weight, and then an operator, say who is to be current.
func TestOrders(t *testing.T) {
	r := startRig(t, rigOptions{nodes: 3, byURL: true})
	a, b := r.pair(serverOptions{})
	c := r.server("c", 3, r.node(2), serverOptions{weight: 10})
	r.join(c)

	r.act("bigger weight by URL, a third source", 1)
	r.takeover(c)

	r.act("promote", 1)
	r.admin("source", "promote", group, "b")
	r.turn(b)

	r.act("promote again, a→c→b→a", 1)
	r.admin("source", "promote", group, "a")
	r.turn(a)

	r.act("pin", 1)
	r.admin("source", "pin", group, "b")
	r.turn(b)

	r.act("unpin, the bigger weight by command", 1)
	r.admin("source", "weight", group, "c", "0")
	r.admin("source", "weight", group, "a", "20")
	r.admin("source", "unpin", group)
	r.takeover(a)
	r.finish(a)
}
