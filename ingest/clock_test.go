package ingest

import (
	"testing"
	"time"
	"unsafe"
)

// steps are the clocks of a colony's members: true time, moved by so many seconds for each of them.
type steps struct {
	*colony
	ahead []int
}

// newSteps is a colony whose clocks have a monotonic part, as real ones do, which no step moves.
func newSteps(t *testing.T) *steps {
	s := &steps{newColony(t, 3), make([]int, 3)}
	began := time.Now()
	s.clock.now.Store(began.UnixNano())
	for i, m := range s.members {
		m.h.now = func() time.Time {
			now := began.Add(time.Duration(s.clock.now.Load() - began.UnixNano()))
			*(*uint64)(unsafe.Pointer(&now)) += uint64(s.ahead[i]) << 30 // its wall seconds
			return now
		}
	}
	s.elect(0)
	return s
}

func (s *steps) elect(i int) {
	s.colony.elect(i)
	m := s.members[i]
	m.lead.since = m.h.now() // with its monotonic part
}

func TestStepIsNoTime(t *testing.T) {
	s := newSteps(t)
	before := s.members[0].h.now()
	for _, seconds := range []int{3600, -3600} {
		s.ahead[0] = seconds
		now := s.members[0].h.now()
		if now.Sub(before) != 0 || now.Round(0).Sub(before.Round(0)) != time.Duration(seconds)*time.Second {
			t.Fatalf("%d seconds: %v after %v", seconds, now, before)
		}
	}
}

// The leader's clock is set an hour ahead or back. Nothing changes by that; when the source ends later, its standby goes on
// where it stopped.
func TestLeadersClockIsSet(t *testing.T) {
	for name, seconds := range map[string]int{"ahead": 3600, "back": -3600} {
		t.Run(name, func(t *testing.T) {
			s := newSteps(t)
			a, b := newProm("a", 0), newProm("b", 2*time.Second)
			b.via = 1
			s.run(2*time.Minute, a, b)
			s.ahead[0] = seconds
			s.run(6*time.Minute, a, b)
			s.current("a")
			if n := int(s.state().Standby.Kept); n == 0 || n > 150 {
				t.Errorf("%d requests are kept", n)
			}
			s.failsOver(a, b)
		})
	}
}

// The next leader's clock is an hour ahead of the last one's, or behind it, and of all sources.
func TestLeadersClocksDiffer(t *testing.T) {
	for name, seconds := range map[string]int{"ahead": 3600, "behind": -3600} {
		t.Run(name, func(t *testing.T) {
			s := newSteps(t)
			a, b := newProm("a", 0), newProm("b", 2*time.Second)
			a.via, b.via = 1, 1
			s.run(2*time.Minute, a, b)
			s.ahead[1] = seconds
			s.elect(1)
			s.run(6*time.Minute, a, b)
			s.current("a")
			s.failsOver(a, b)
			s.elect(2) // and back to a good one
			s.run(2*time.Minute, b)
			s.check(a.interval+guard, a, b)
		})
	}
}

// afterLeaderAhead is a colony whose last leader's clock was an hour ahead, and whose present one's is right.
func afterLeaderAhead(t *testing.T) (s *steps, a, b *prom) {
	t.Helper()
	s = newSteps(t)
	s.ahead[0] = 3600
	s.elect(0)
	a, b = newProm("a", 0), newProm("b", 2*time.Second)
	a.via, b.via = 1, 1
	s.run(2*time.Minute, a, b)
	s.elect(1)
	return s, a, b
}

// The last leader's clock was an hour ahead, and its source ends with it: what was kept under both leaders is passed on in
// the order in which it came.
func TestKeptUnderTwoClocks(t *testing.T) {
	s, a, b := afterLeaderAhead(t)
	s.failsOver(a, b)
}

func (s *steps) failsOver(a, b *prom) {
	s.Helper()
	a.kill()
	s.run(time.Minute, a, b)
	s.current("b")
	if h := s.state().History; len(h) != 2 {
		s.Errorf("history: %+v", h)
	}
	if gap := s.check(a.interval+guard, a, b); gap > a.interval+guard {
		s.Errorf("largest gap %v", gap)
	}
}

// The gate refuses everybody for a moment, the clock is set back, and the current source ends: it is called silent when it
// has been, and not an hour later.
func TestClockIsSetBackAfterTheGateRefused(t *testing.T) {
	s := newSteps(t)
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	s.run(2*time.Minute, a, b)
	m := s.members[0]
	m.h.turnAway(m.lead, &request{}, m.h.options.Load())
	s.ahead[0] = -3600
	s.run(10*time.Second, a, b)
	s.failsOver(a, b)
}

// A fence lasts for a margin of time, whatever the clock says.
func TestFenceOutlastsAStep(t *testing.T) {
	s := newSteps(t)
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	b.lags = []time.Duration{0, 30 * time.Second} // one shard still sends what the fence holds back
	s.run(2*time.Minute, a, b)
	a.kill()
	s.run(30*time.Second, a, b)
	if ho := s.members[0].h.lead.Load().all()[0].handover.Load(); ho == nil || ho.below.Load() == nil {
		t.Fatal("no request needed the fence: this proves nothing")
	}
	s.ahead[0] = 3600
	s.run(20*time.Second, b)
	if s.state().Fence == nil {
		t.Error("the fence has ended before its margin")
	}
	s.run(3*time.Minute, b)
	if s.state().Fence != nil {
		t.Error("the fence has not ended")
	}
	s.check(a.interval+guard, a, b)
}
