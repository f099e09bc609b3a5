package history

import (
	"testing"
)

// clean is a history without a violation: a is current, b is standby, both send two series at the same times;
// one request of a needed three attempts, one of b is uncertain and never arrived.
func clean() History {
	var h History
	for n := int64(0); n < 10; n++ {
		a := []Sample{{"x", n * 10, float64(n*16 + 1)}, {"y", n * 10, float64(n*16 + 1)}}
		b := []Sample{{"x", n * 10, float64(n*16 + 2)}, {"y", n * 10, float64(n*16 + 2)}}
		ra, rb := Request{Source: "a", Samples: a, Answers: []int{204}}, Request{Source: "b", Samples: b, Answers: []int{202}}
		if n == 4 {
			ra.Answers = []int{503, 0, 204}
			rb.Answers = []int{503}
		}
		h.Requests = append(h.Requests, ra, rb)
		h.Received = append(h.Received, a...)
	}
	return h
}

func remove(h *History, i int) { h.Received = append(h.Received[:i:i], h.Received[i+1:]...) }

func insert(h *History, i int, s Sample) {
	h.Received = append(h.Received[:i:i], append([]Sample{s}, h.Received[i:]...)...)
}

func TestCheckFindsEachPlantedViolation(t *testing.T) {
	tests := []struct {
		name  string
		rules Rules
		plant func(*History)
		want  []Kind
	}{
		{"clean", Rules{Counters: true}, func(*History) {}, nil},
		{"H1 a lost sample", Rules{}, func(h *History) { remove(h, 7) }, []Kind{Lost}},
		{"H1 the last sample", Rules{}, func(h *History) { remove(h, len(h.Received)-1) }, []Kind{Lost}},
		{"H1 a lost sample of a retried request", Rules{}, func(h *History) { remove(h, 8) }, []Kind{Lost}},
		{"H1 excused", Rules{Missing: func(s Sample) bool { return s.Time == 30 && s.Series == "y" }},
			func(h *History) { remove(h, 7) }, nil},
		{"H1 excuse of another sample", Rules{Missing: func(s Sample) bool { return s.Time == 20 }},
			func(h *History) { remove(h, 7) }, []Kind{Lost}},
		{"H2 an invented sample", Rules{}, func(h *History) { insert(h, 20, Sample{"z", 1, 1}) }, []Kind{Invented}},
		{"H2 another value", Rules{}, func(h *History) { h.Received[7].Value++ }, []Kind{Loser, Lost}},
		{"H2 a value nobody sent", Rules{}, func(h *History) { h.Received[7].Value += 5 }, []Kind{Invented, Lost}},
		{"H3 a loser's batch", Rules{}, func(h *History) {
			h.Requests = append(h.Requests, Request{Source: "b", Samples: []Sample{{"x", 200, 2}}, Answers: []int{202, 202}})
			insert(h, 20, Sample{"x", 200, 2})
		}, []Kind{Loser}},
		{"H3 kept samples are allowed to fill", Rules{Kept: true}, func(h *History) {
			h.Requests = append(h.Requests, Request{Source: "b", Samples: []Sample{{"x", 200, 2}}, Answers: []int{202}})
			insert(h, 20, Sample{"x", 200, 2})
		}, nil},
		{"H3 an uncertain request may arrive", Rules{}, func(h *History) {
			h.Requests = append(h.Requests, Request{Source: "b", Samples: []Sample{{"x", 200, 2}}, Answers: []int{503, 202}})
			insert(h, 20, Sample{"x", 200, 2})
		}, nil},
		{"H4 a swap", Rules{}, func(h *History) {
			h.Received[4], h.Received[6] = h.Received[6], h.Received[4]
		}, []Kind{Order}},
		{"H4 a swap within a source", Rules{PerSource: true}, func(h *History) {
			h.Received[4], h.Received[6] = h.Received[6], h.Received[4]
		}, []Kind{Order}},
		{"H4 one source gives a time twice", Rules{}, func(h *History) {
			h.Requests = append(h.Requests, Request{Source: "a", Samples: []Sample{{"x", 90, 7}}, Answers: []int{204}})
			insert(h, 20, Sample{"x", 90, 7})
		}, []Kind{Order}},
		{"H4 sources overlap", Rules{}, func(h *History) {
			h.Requests = append(h.Requests, Request{Source: "c", Samples: []Sample{{"x", 85, 7}}, Answers: []int{204}})
			insert(h, 20, Sample{"x", 85, 7})
		}, []Kind{Order}},
		{"H4 sources may overlap", Rules{PerSource: true}, func(h *History) {
			h.Requests = append(h.Requests, Request{Source: "c", Samples: []Sample{{"x", 85, 7}}, Answers: []int{204}})
			insert(h, 20, Sample{"x", 85, 7})
		}, nil},
		{"H5 a repetition", Rules{}, func(h *History) { insert(h, 12, h.Received[3]) }, []Kind{Repeated}},
		{"H5 repetitions allowed", Rules{Repeats: true}, func(h *History) { insert(h, 12, h.Received[3]) }, nil},
		{"H6 two sources", Rules{Kept: true}, func(h *History) { insert(h, 20, h.Requests[3].Samples[0]) }, []Kind{TwoSources}},
		{"H6 two sources, uncertain", Rules{}, func(h *History) { insert(h, 20, h.Requests[9].Samples[1]) }, []Kind{TwoSources}},
		{"H6 two sources even where they overlap", Rules{Kept: true, PerSource: true, Repeats: true},
			func(h *History) { insert(h, 20, h.Requests[3].Samples[0]) }, []Kind{TwoSources}},
		{"H7 a counter falls", Rules{Counters: true}, func(h *History) {
			h.Requests = append(h.Requests, Request{Source: "a", Samples: []Sample{{"x", 100, 3}}, Answers: []int{204}})
			insert(h, 20, Sample{"x", 100, 3})
		}, []Kind{Decreased}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := clean()
			tt.plant(&h)
			got := Check(h, tt.rules)
			if len(got) != len(tt.want) {
				t.Fatalf("got %v, want kinds %v", got, tt.want)
			}
			for i, v := range got {
				if v.Kind != tt.want[i] {
					t.Errorf("violation %d is %v, want kind %q", i, v, tt.want[i])
				}
			}
		})
	}
}

func TestCheckOfEverythingLost(t *testing.T) {
	h := clean()
	h.Received = nil
	got := Check(h, Rules{})
	if len(got) != 20 {
		t.Fatalf("got %d violations, want 20 lost samples", len(got))
	}
	for i := 1; i < len(got); i++ {
		a, b := got[i-1].Sample, got[i].Sample
		if a.Series > b.Series || a.Series == b.Series && a.Time >= b.Time {
			t.Errorf("losses are not sorted: %v before %v", a, b)
		}
	}
}

// A sample sent twice, refused as standby once and accepted once, counts as accepted, whatever came first.
func TestStrongestOutcomeCounts(t *testing.T) {
	s := Sample{"x", 1, 1}
	for _, answers := range [][2][]int{{{202}, {204}}, {{204}, {202}}, {{503}, {204}}, {{204}, {0}}} {
		h := History{Requests: []Request{{Source: "a", Samples: []Sample{s}, Answers: answers[0]}, {Source: "a", Samples: []Sample{s}, Answers: answers[1]}}}
		if got := Check(h, Rules{}); len(got) != 1 || got[0].Kind != Lost {
			t.Errorf("answers %v: got %v, want one loss", answers, got)
		}
	}
	h := History{
		Requests: []Request{{Source: "a", Samples: []Sample{s}, Answers: []int{202}}, {Source: "a", Samples: []Sample{s}, Answers: []int{503}}},
		Received: []Sample{s},
	}
	if got := Check(h, Rules{}); len(got) != 0 {
		t.Errorf("an uncertain copy may arrive, got %v", got)
	}
}

func TestLogKeepsAnswersApart(t *testing.T) {
	var l Log
	first := l.Send("a", []Sample{{"x", 1, 1}})
	second := l.Send("b", []Sample{{"x", 1, 2}})
	second.Answered(202)
	first.Answered(503)
	first.Answered(204)
	l.Receive([]Sample{{"x", 1, 1}})
	h := l.History()
	first.Answered(500)
	if len(h.Requests) != 2 || len(h.Requests[0].Answers) != 2 || h.Requests[1].Answers[0] != 202 {
		t.Fatalf("unexpected requests %+v", h.Requests)
	}
	if l.ReceivedCount() != 1 || h.AcceptedCount() != 1 {
		t.Fatalf("received %d, accepted %d, want 1 and 1", l.ReceivedCount(), h.AcceptedCount())
	}
	if got := Check(h, Rules{}); len(got) != 0 {
		t.Fatalf("unexpected violations %v", got)
	}
}
