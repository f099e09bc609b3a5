package ingest

import "time"

// slowest is the pace of the slowest: the smallest of the newest sample times of a source's recent requests. Shards
// that lag behind hold it back, and so does a replay.
type slowest struct {
	since time.Time // of the first request that counts
	list  []pacemark
}

type pacemark struct {
	at     time.Time
	newest int64 // Unix milliseconds; growing along the list
}

// slowestMin is the shortest memory: shards take turns within seconds.
const slowestMin = 15 * time.Second

// note adds a request. Marks that are not smaller than a later one can never be the smallest again.
func (s *slowest) note(now time.Time, newest int64, memory time.Duration) {
	if s.since.IsZero() {
		s.since = now
	}
	for len(s.list) > 0 && s.list[len(s.list)-1].newest >= newest {
		s.list = s.list[:len(s.list)-1]
	}
	s.list = append(s.list, pacemark{now, newest})
	s.trim(now, memory)
}

func (s *slowest) trim(now time.Time, memory time.Duration) {
	n := 0
	for n < len(s.list)-1 && now.Sub(s.list[n].at) > memory {
		n++
	}
	s.list = s.list[:copy(s.list, s.list[n:])]
}

// pace returns the pace; false while less than its memory was seen. After a silence the last request counts for as long
// as nothing follows.
func (s *slowest) pace(now time.Time, memory time.Duration) (int64, bool) {
	if len(s.list) == 0 || now.Sub(s.since) < memory {
		return 0, false
	}
	s.trim(now, memory)
	return s.list[0].newest, true
}
