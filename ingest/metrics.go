package ingest

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/highlander-io/highlander/fsm"
)

// metrics are those of this node alone; what the log decides is exported from the replicated state.
type metrics struct {
	durations              [len(table)]prometheus.Observer // by outcome's status
	forwarded              prometheus.Counter
	looks                  prometheus.Counter
	outOfOrder             *prometheus.CounterVec
	groups                 prometheus.Gauge
	windowFull             prometheus.Counter
	fenceBuilds, handovers prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, b *budget, w *window, lonely func() []*keptItem) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		forwarded: f.NewCounter(prometheus.CounterOpts{
			Name: "highlander_ingest_forwarded_requests_total",
			Help: "Write requests that this node passed on to the leader.",
		}),
		looks: f.NewCounter(prometheus.CounterOpts{
			Name: "highlander_ingest_standby_looks_total",
			Help: "Standby requests that were opened for their newest timestamp or their counts.",
		}),
		outOfOrder: f.NewCounterVec(prometheus.CounterOpts{
			Name: "highlander_ingest_out_of_order_total",
			Help: "Series out of a sample of those accepted whose time went backwards or repeated: two servers under one name, or a replay.",
		}, []string{"tenant", "group", "source"}),
		groups: f.NewGauge(prometheus.GaugeOpts{
			Name: "highlander_ingest_groups",
			Help: "Groups that the leader has heard of lately.",
		}),
	}
	m.window(f, w)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "highlander_ingest_kept_underreplicated_requests",
		Help: "Standby requests that only the leader keeps although there are other voters; on the leader, 0 elsewhere.",
	}, func() float64 { return float64(len(lonely())) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "highlander_ingest_in_flight_bytes",
		Help: "Memory held by write requests in flight, as received and as decoded.",
	}, func() float64 { return float64(b.used.Load()) })
	durations := f.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "highlander_ingest_request_duration_seconds",
		Help:    "Time from the first byte of a write request to its answer, by status.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"code"})
	for o := range table {
		m.durations[o] = durations.WithLabelValues(strconv.Itoa(table[o].status))
	}
	return m
}

func (m *metrics) observe(status int, d time.Duration) {
	for o := range table {
		if table[o].status == status {
			m.durations[o].Observe(d.Seconds())
			return
		}
	}
}

// forget drops the labels of a source that is not heard of any more.
func (m *metrics) forget(id fsm.GroupID, source string) {
	m.outOfOrder.DeleteLabelValues(id.Tenant, id.Name, source)
}

// window adds the metrics of handovers.
func (m *metrics) window(f promauto.Factory, w *window) {
	m.windowFull = f.NewCounter(prometheus.CounterOpts{
		Name: "highlander_ingest_window_full_total",
		Help: "Standby requests, or copies of them, that were turned away because the handover window was full.",
	})
	m.fenceBuilds = f.NewHistogram(prometheus.HistogramOpts{
		Name:    "highlander_ingest_fence_build_duration_seconds",
		Help:    "Time to build the fences of a change of source from the log.",
		Buckets: []float64{.001, .01, .1, .5, 1, 2.5, 5, 10, 30},
	})
	m.handovers = f.NewHistogram(prometheus.HistogramOpts{
		Name:    "highlander_ingest_handover_duration_seconds",
		Help:    "Time from a change of source until its live requests pass.",
		Buckets: []float64{.001, .01, .1, .5, 1, 2.5, 5, 10, 30, 60},
	})
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "highlander_ingest_kept_requests",
		Help: "Standby requests that this node keeps for handovers, copies for other nodes included.",
	}, func() float64 { items, _ := w.held(); return float64(items) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "highlander_ingest_kept_bytes",
		Help: "Memory held by standby requests that are kept for handovers.",
	}, func() float64 { _, bytes := w.held(); return float64(bytes) })
}
