package egress

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	duration *prometheus.HistogramVec
	requests *prometheus.CounterVec
	retries  *prometheus.CounterVec
	probes   *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	inFlight *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	by := []string{"destination"}
	m := &metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "highlander_egress_send_duration_seconds",
			Help:    "Time of single attempts to send a request, answered or not.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 13),
		}, by),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "highlander_egress_requests_total",
			Help: "Attempts to send a request, by what they came to.",
		}, []string{"destination", "outcome"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "highlander_egress_retries_total",
			Help: "Attempts that said nothing about the samples and are made again.",
		}, by),
		probes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "highlander_egress_probes_total",
			Help: "Requests spent on finding the series that an endpoint refuses.",
		}, by),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "highlander_egress_sent_bytes_total",
			Help: "Bytes of delivered request bodies, compressed.",
		}, by),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "highlander_egress_requests_in_flight",
			Help: "Requests on their way.",
		}, by),
	}
	if reg != nil {
		reg.MustRegister(m.duration, m.requests, m.retries, m.probes, m.bytes, m.inFlight)
	}
	return m
}

// destinationMetrics are one destination's, looked up once.
type destinationMetrics struct {
	duration prometheus.Observer
	outcomes [cancelled + 1]prometheus.Counter
	retries  prometheus.Counter
	probes   prometheus.Counter
	bytes    prometheus.Counter
	inFlight prometheus.Gauge
}

var outcomeNames = [cancelled + 1]string{
	delivered: "delivered", retry: "retry", tooLarge: "too_large", wrongProtocol: "wrong_protocol",
	refused: "refused", misconfigured: "misconfigured", cancelled: "cancelled",
}

func (m *metrics) of(destination string) *destinationMetrics {
	d := &destinationMetrics{
		duration: m.duration.WithLabelValues(destination),
		retries:  m.retries.WithLabelValues(destination),
		probes:   m.probes.WithLabelValues(destination),
		bytes:    m.bytes.WithLabelValues(destination),
		inFlight: m.inFlight.WithLabelValues(destination),
	}
	for o, name := range outcomeNames {
		d.outcomes[o] = m.requests.WithLabelValues(destination, name)
	}
	return d
}

// forget removes the series of a destination that is gone.
func (m *metrics) forget(destination string) {
	by := prometheus.Labels{"destination": destination}
	for _, v := range []interface {
		DeletePartialMatch(prometheus.Labels) int
	}{m.duration, m.requests, m.retries, m.probes, m.bytes, m.inFlight} {
		v.DeletePartialMatch(by)
	}
}

func (d *destinationMetrics) observe(r result, size int, took time.Duration) {
	d.duration.Observe(took.Seconds())
	d.outcomes[r.outcome].Inc()
	if r.outcome == delivered {
		d.bytes.Add(float64(size))
	}
}
