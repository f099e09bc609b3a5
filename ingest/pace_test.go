package ingest

import (
	"testing"
	"time"
)

func beats(p *pace, now *time.Time, gap time.Duration, n int) {
	for range n {
		*now = now.Add(gap)
		p.beat(*now)
	}
}

func near(t *testing.T, what string, got, want, tolerance time.Duration) {
	t.Helper()
	if got < want-tolerance || got > want+tolerance {
		t.Errorf("%s: %v, want %v ± %v", what, got, want, tolerance)
	}
}

func TestPace(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

	t.Run("steady", func(t *testing.T) {
		var p pace
		now := start
		beats(&p, &now, 15*time.Second, 10)
		near(t, "interval", p.interval, 15*time.Second, 0)
	})
	t.Run("unknown until a gap", func(t *testing.T) {
		var p pace
		now := start
		beats(&p, &now, time.Millisecond, 20)
		near(t, "interval within a burst", p.interval, 0, 0)
		beats(&p, &now, time.Minute, 1)
		near(t, "interval", p.interval, time.Minute, 0)
	})
	t.Run("many small gaps become the pace", func(t *testing.T) {
		var p pace
		now := start
		beats(&p, &now, 10*time.Millisecond, 2000)
		near(t, "interval", p.interval, 10*time.Millisecond, time.Millisecond)
	})
	t.Run("bursts once a minute", func(t *testing.T) {
		var p pace
		now := start
		for range 10 {
			beats(&p, &now, 10*time.Millisecond, 10)
			beats(&p, &now, time.Minute, 1)
		}
		near(t, "interval", p.interval, time.Minute, time.Second)
	})
	t.Run("a late second request of the first scrape does not hide the minute", func(t *testing.T) {
		var p pace
		now := start
		beats(&p, &now, 0, 1)
		beats(&p, &now, 5*time.Second, 1)
		beats(&p, &now, 55*time.Second, 1)
		beats(&p, &now, 5*time.Second, 1)
		if 2*p.interval < 50*time.Second {
			t.Errorf("interval %v: the next pause of 55 s would nearly be a silence", p.interval)
		}
	})
	t.Run("an outage is forgotten within minutes", func(t *testing.T) {
		var p pace
		now := start
		beats(&p, &now, time.Second, 60)
		beats(&p, &now, time.Hour, 1)
		beats(&p, &now, time.Second, 5*60)
		if 2*p.interval > 15*time.Second {
			t.Errorf("interval %v five minutes after an outage", p.interval)
		}
	})
	t.Run("twenty seconds of standstill change little", func(t *testing.T) {
		var p pace
		now := start
		beats(&p, &now, time.Second, 60)
		beats(&p, &now, 20*time.Second, 1)
		if 2*p.interval > 15*time.Second {
			t.Errorf("interval %v", p.interval)
		}
	})
	t.Run("a clock set back", func(t *testing.T) {
		var p pace
		now := start
		beats(&p, &now, time.Second, 10)
		p.beat(start)
		near(t, "interval", p.interval, time.Second, 0)
		if !p.last.Equal(now) {
			t.Errorf("last %v, want %v", p.last, now)
		}
	})
}

func TestFlow(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var f flow
	if _, known := f.rate(now); known {
		t.Error("a rate of nothing")
	}
	for range 30 { // 1000 bytes a second, two samples for each ten bytes
		f.add(now, 1000)
		f.sample(200, 1000)
		now = now.Add(time.Second)
	}
	rate, known := f.rate(now)
	if !known || rate < 190 || rate > 210 {
		t.Errorf("rate %v, %v; want about 200", rate, known)
	}
	if rate, _ = f.rate(now.Add(10 * time.Minute)); rate > 1 {
		t.Errorf("rate %v ten minutes after the last request", rate)
	}
}

func TestFlowIgnoresEmptyBodies(t *testing.T) {
	var f flow
	f.sample(10, 0)
	if f.density != 0 {
		t.Errorf("density %v", f.density)
	}
}

func TestGain(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name    string
		seconds int
		lag     func(second int) time.Duration // of the newest sample
		gained  bool                           // within the last 15 s
	}{
		{name: "keeps up", seconds: 120, lag: func(int) time.Duration { return time.Second }},
		{name: "always two minutes behind", seconds: 120, lag: func(int) time.Duration { return 2 * time.Minute }},
		{name: "behind, in steps", seconds: 120, lag: func(s int) time.Duration { return time.Minute + time.Duration(s%5)*time.Second }},
		{name: "falls behind", seconds: 120, lag: func(s int) time.Duration { return time.Duration(s) * time.Second }},
		{name: "replays fast", seconds: 20, lag: func(s int) time.Duration { return time.Hour - time.Duration(s)*time.Minute }, gained: true},
		{name: "replays slowly", seconds: 60, lag: func(s int) time.Duration { return time.Hour - time.Duration(s)*time.Second/4 }, gained: true},
		{name: "has replayed long ago", seconds: 120, lag: func(s int) time.Duration { return max(time.Second, time.Hour-time.Duration(s)*2*time.Minute) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var g gain
			now := start
			for s := range c.seconds {
				now = start.Add(time.Duration(s) * time.Second)
				g.note(c.lag(s), now, 5*time.Second, 15*time.Second/2)
			}
			if got := !g.at.IsZero() && now.Sub(g.at) < 15*time.Second; got != c.gained {
				t.Errorf("gained %v (%v ago), want %v", got, now.Sub(g.at), c.gained)
			}
		})
	}
}
