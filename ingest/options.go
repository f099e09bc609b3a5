package ingest

import (
	"time"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

// Values of Options.Unidentified.
const (
	Elect  = "elect"  // the client's host is the source, in the default group
	Pass   = "pass"   // accepted without election
	Reject = "reject" // refused
)

// Options is what an operator decides. It may be replaced while running.
type Options struct {
	Pairs         []wire.Pair // labels that name a series' group and source; the replica labels are removed
	DefaultGroup  string
	Unidentified  string // Elect, Pass or Reject
	RequestWeight bool   // whether a request may say its source's weight
	Policy        fsm.Policy
	ForgetAfter   time.Duration // what is silent for longer is dropped from memory

	Margin         time.Duration // by which a current source must have passed what is kept of its standbys
	ClockSkewGuard time.Duration // by which the clocks of two sources may differ
	WindowBytes    int64         // of all that is kept

	MaxBodyBytes     int64 // of a body as received
	MaxDecodedBytes  int64 // of a body as decoded
	MaxInflightBytes int64 // of all bodies in memory, received and decoded
	MaxGroups        int
	MaxSources       int           // per group
	MaxNameBytes     int           // of a tenant, group or source
	BodyTimeout      time.Duration // for a body to arrive
}

// withDefaults fills in what is zero and widens what could never let a single request through.
func (o Options) withDefaults() Options {
	setDefault(&o.DefaultGroup, "default")
	setDefault(&o.Unidentified, Elect)
	setDefault(&o.ForgetAfter, time.Hour)
	setDefault(&o.MaxBodyBytes, 32<<20)
	setDefault(&o.MaxDecodedBytes, 4*o.MaxBodyBytes)
	setDefault(&o.MaxInflightBytes, 128<<20)
	setDefault(&o.MaxGroups, 10000)
	setDefault(&o.MaxSources, 100)
	setDefault(&o.MaxNameBytes, 256)
	setDefault(&o.BodyTimeout, 30*time.Second)
	setDefault(&o.Margin, 90*time.Second)
	setDefault(&o.WindowBytes, 256<<20)
	setDefault(&o.Policy.GuardFuture, time.Minute)
	o.Policy.RequestWeight, o.Policy.RequireKept = o.RequestWeight, true
	o.MaxNameBytes = min(o.MaxNameBytes, fsm.NameBytesMax)
	o.MaxGroups, o.MaxSources = min(o.MaxGroups, fsm.GroupsMax), min(o.MaxSources, fsm.SourcesMax)
	// While a body is read, its buffer may have just been replaced by a larger one.
	o.MaxInflightBytes = max(o.MaxInflightBytes, 2*o.MaxBodyBytes+o.MaxDecodedBytes)
	return o
}

func setDefault[T comparable](to *T, value T) {
	var zero T
	if *to == zero {
		*to = value
	}
}
