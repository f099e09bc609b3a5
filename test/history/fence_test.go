package history

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// play is a group as the contract describes it: two sources that have a sample of every series at each step, one of which is
// current; what the other one is answered 202 for is kept, and goes on at a change behind the line of each series.
type play struct {
	History
	script
	n       int // the present step
	epoch   uint64
	current string
	cut     map[string]bool
	waiting map[string][]int // steps that were not answered yet
	kept    map[string][]int
	free    map[string]time.Duration // when the last request of a source was answered
	newest  map[string]int64         // by series
	line    map[string]int64
	covered []Sample
}

const (
	playStep  = 50 * ms
	playGuard = 100 * ms
)

var playSeries = []string{"x", "y"}

func newPlay() *play {
	p := &play{cut: map[string]bool{}, waiting: map[string][]int{}, kept: map[string][]int{}, free: map[string]time.Duration{},
		newest: map[string]int64{}, line: map[string]int64{}}
	for _, series := range playSeries {
		p.newest[series], p.line[series] = noSample, noSample
	}
	return p.change("a")
}

func playSample(source, series string, n int) Sample {
	return Sample{series, int64(n) * playStep.Milliseconds(), float64(16*n + int(source[0]))}
}

func (p *play) now() time.Duration { return time.Duration(p.n) * playStep }

// change makes a source current just before the present step.
func (p *play) change(to string) *play {
	p.epoch++
	p.script.change(p.epoch, p.current, to, "silence")
	p.current = to
	for series, newest := range p.newest {
		if newest != noSample {
			p.line[series] = newest + playGuard.Milliseconds()
		}
	}
	for _, n := range p.kept[to] {
		for _, series := range playSeries {
			p.deliver(playSample(to, series, n))
		}
	}
	p.kept = map[string][]int{}
	return p
}

// deliver takes a sample to the LTS, unless it is not above the line of its series.
func (p *play) deliver(s Sample) bool {
	if s.Time <= p.line[s.Series] {
		return false
	}
	p.newest[s.Series] = max(p.newest[s.Series], s.Time)
	p.Received = append(p.Received, s)
	return true
}

// run goes on for some steps, in each of which both sources send what they have and the status is read.
func (p *play) run(steps int) *play {
	for range steps {
		for _, source := range []string{"a", "b"} {
			p.waiting[source] = append(p.waiting[source], p.n)
			if !p.cut[source] {
				p.send(source)
			}
		}
		p.at = p.now() + 20*ms
		p.read(shown(p.epoch, p.current, "", ""))
		p.n++
	}
	return p
}

func (p *play) send(source string) {
	for _, n := range p.waiting[source] {
		q := Request{Source: source, Began: max(p.free[source], time.Duration(n)*playStep), Answers: []int{202}}
		q.Ended = max(q.Began, p.now()) + time.Microsecond
		p.free[source] = q.Ended
		for _, series := range playSeries {
			s := playSample(source, series, n)
			q.Samples = append(q.Samples, s)
			if source == p.current && !p.deliver(s) {
				p.covered = append(p.covered, s)
			}
		}
		if source == p.current {
			q.Answers = []int{204}
		} else {
			p.kept[source] = append(p.kept[source], n)
		}
		p.Requests = append(p.Requests, q)
	}
	p.waiting[source] = nil
}

// lost is what is missing and not explained.
func (p *play) lost() (list []Sample) {
	for _, v := range Check(p.History, Rules{Kept: true, Missing: Fenced(p.History, p.Record, playGuard)}) {
		if v.Kind == Lost {
			list = append(list, v.Sample)
		}
	}
	slices.SortFunc(list, func(a, b Sample) int {
		return cmp.Or(strings.Compare(a.Series, b.Series), cmp.Compare(a.Time, b.Time), cmp.Compare(a.Value, b.Value))
	})
	return list
}

// without takes samples out of what arrived.
func (p *play) without(gone ...Sample) *play {
	p.Received = slices.DeleteFunc(slices.Clone(p.Received), func(s Sample) bool { return slices.Contains(gone, s) })
	return p
}

// twoChanges is a turn of a, which is cut off two steps before b follows at step 40, and back as the current source at step 80:
// what it has had since step 38 is held back up to step 81.
func twoChanges() *play {
	p := newPlay().run(38)
	p.cut["a"] = true
	p.run(2).change("b").run(40)
	p.cut["a"] = false
	return p.change("a").run(40)
}

// Samples that vanish in a round with changes of source are found among those that fences held back, wherever they vanish.
func TestFencedFindsPlantedLosses(t *testing.T) {
	tests := []struct {
		name  string
		plant func(*play) []Sample // the lost ones
	}{
		{"none", func(*play) []Sample { return nil }},
		{"amid the first turn", func(*play) []Sample { return []Sample{playSample("a", "x", 20)} }},
		{"the last ones of a turn", func(*play) []Sample { return []Sample{playSample("a", "x", 36), playSample("a", "x", 37)} }},
		{"the first of a turn", func(*play) []Sample { return []Sample{playSample("b", "y", 40)} }},
		{"amid a turn with a fence", func(*play) []Sample { return []Sample{playSample("b", "x", 60), playSample("b", "y", 61)} }},
		{"the last of a turn, and with it what only that one explained", func(*play) []Sample {
			return []Sample{playSample("b", "x", 79), playSample("a", "x", 81)}
		}},
		{"the first above the fence", func(*play) []Sample { return []Sample{playSample("a", "x", 82)} }},
		{"just above the fence", func(*play) []Sample { return []Sample{playSample("a", "x", 83)} }},
		{"never committed, so the next source's kept ones fill the gap", func(p *play) (lost []Sample) {
			for n := 33; n <= 37; n++ {
				lost = append(lost, playSample("a", "x", n))
				p.Received = append(p.Received, playSample("b", "x", n+2))
			}
			return lost
		}},
		{"acknowledged while another source was current", func(p *play) []Sample {
			s := playSample("b", "z", 38)
			p.Received = append(p.Received, playSample("a", "z", 38))
			p.Requests = append(p.Requests,
				Request{Source: "a", Samples: []Sample{playSample("a", "z", 38)}, Answers: []int{204}, Ended: 10 * ms},
				Request{Source: "b", Samples: []Sample{s}, Answers: []int{204}, Began: 100 * playStep, Ended: 101 * playStep})
			return []Sample{s}
		}},
		{"a whole turn, and with it what its samples explained", func(*play) (lost []Sample) {
			for n := 40; n < 80; n++ {
				lost = append(lost, playSample("a", "x", n), playSample("b", "x", n))
			}
			return append(lost, playSample("a", "x", 80), playSample("a", "x", 81))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := twoChanges()
			if n := len(p.covered); n != 2*44 {
				t.Fatalf("%d samples are held back, want those of steps 38 to 81", n)
			}
			want := tt.plant(p)
			if got := p.without(want...).lost(); !slices.Equal(got, want) {
				t.Errorf("lost are %v, want %v", got, want)
			}
		})
	}
}

// A record that contradicts itself explains nothing.
func TestFencedNeedsASoundRecord(t *testing.T) {
	p := twoChanges()
	p.script.change(2, "a", "c", "silence")
	if got := p.lost(); len(got) != len(p.covered) {
		t.Errorf("%d samples are lost, want %d", len(got), len(p.covered))
	}
}

// drama is a play of changes and cuts at random.
func drama(random *rand.Rand) *play {
	p := newPlay().run(5)
	for range 12 {
		p.cut["a"], p.cut["b"] = random.IntN(3) == 0, random.IntN(3) == 0
		if random.IntN(2) == 0 {
			p.change(map[string]string{"a": "b", "b": "a"}[p.current])
		}
		p.run(3 + random.IntN(12))
	}
	clear(p.cut)
	return p.run(5)
}

// Whatever changes, what fences held back is explained, also where the status could not be read for long or was shown as it once
// was; and of what arrived nothing can vanish without being missed where the status was read all the time.
func TestFencedAtRandom(t *testing.T) {
	covered := 0
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		p := drama(random)
		covered += len(p.covered)
		if got := p.lost(); len(got) != 0 {
			t.Fatalf("seed %d: lost are %v", seed, got)
		}
		all := p.Received
		for range 5 {
			gone := all[random.IntN(len(all))]
			acknowledged := slices.ContainsFunc(p.Requests, func(q Request) bool {
				return q.outcome() == accepted && slices.Contains(q.Samples, gone)
			})
			if got := p.without(gone).lost(); acknowledged != slices.Contains(got, gone) {
				t.Fatalf("seed %d: without %v, which was acknowledged: %v, lost are %v", seed, gone, acknowledged, got)
			}
			p.Received = all
		}
		for i := range p.Calls {
			p.Calls[i].View.Stale = random.IntN(3) == 0
		}
		p.Calls = slices.DeleteFunc(p.Calls, func(Call) bool { return random.IntN(3) > 0 })
		if got := p.lost(); len(got) != 0 {
			t.Fatalf("seed %d, few reads: lost are %v", seed, got)
		}
	}
	if covered == 0 {
		t.Error("nothing was ever held back")
	}
	t.Logf("%d samples were held back", covered)
}
