package egress

import (
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"
)

// A window that is complete while the endpoint is busy waits as it is, however long: it is sealed once, and nothing joins it.
func TestDrainSealsOnce(t *testing.T) {
	v1 := func(c *cluster, i int64) { c.batch("", i, "v1_a", "drop_b") }
	v2 := func(c *cluster, i int64) { c.batchV2(i, "v2_a", "drop_b") }
	for name, kinds := range map[string][]func(*cluster, int64){"of two protocols": {v1, v2}, "of one": {v1}} {
		for relabelled, dropped := range map[bool]uint64{false: 0, true: 40} {
			c := newCluster(t)
			l := newLTS(t, nil)
			l.program(func(*write) answer {
				if len(l.writes) == 1 { // busy with the first for a while
					return answer{hang: true}
				}
				return ok
			})
			c.register("lts", l.URL+"/api/v1/write")
			for i := range int64(40) {
				kinds[int(i)%len(kinds)](c, i+1)
			}
			d := to("lts", l)
			d.RemoteTimeout, d.Queue.MaxSamplesPerSend = 4*linger, 10
			if relabelled {
				d.Relabel = rules(t, relabel.Config{SourceLabels: model.LabelNames{"__name__"}, Action: relabel.Drop, Regex: relabel.MustNewRegexp("drop_.*")})
			}
			c.lead(c.egress(d))
			got := c.drained(t, "lts")
			if got.Delivered != 80-dropped || got.RelabelDropped != dropped {
				t.Errorf("%s, relabelled %v: delivered %d, dropped %d", name, relabelled, got.Delivered, got.RelabelDropped)
			}
			l.check(t, int(80-dropped))
		}
	}
}
