package wal

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	reads    *prometheus.CounterVec
	fsync    prometheus.Histogram
	entries  prometheus.Counter
	bytes    prometheus.Counter
	cached   prometheus.Counter
	disk     prometheus.Counter
	recycled prometheus.Counter
}

func newMetrics() *metrics {
	reads := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "highlander_wal_entries_read_total", Help: "Entries read, by where they came from.",
	}, []string{"from"})
	return &metrics{
		reads: reads,
		fsync: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "highlander_wal_fsync_duration_seconds", Help: "Duration of the fdatasync of each group commit.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 17),
		}),
		entries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "highlander_wal_entries_appended_total", Help: "Entries made durable.",
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "highlander_wal_appended_bytes_total", Help: "Bytes made durable, frame headers included.",
		}),
		recycled: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "highlander_wal_segments_recycled_total", Help: "Reclaimed segments that were kept as spares.",
		}),
		cached: reads.WithLabelValues("cache"),
		disk:   reads.WithLabelValues("disk"),
	}
}

// register registers the metrics, if there is a registry; info is asked at each scrape.
func (m *metrics) register(reg prometheus.Registerer, info func() Info) {
	if reg == nil {
		return
	}
	gauge := func(name, help string, value func(Info) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(info()) })
	}
	reg.MustRegister(m.fsync, m.entries, m.bytes, m.recycled, m.reads,
		gauge("highlander_wal_bytes", "Bytes of the log's segments in use, without what is only preallocated.",
			func(i Info) float64 { return float64(i.Bytes) }),
		gauge("highlander_wal_disk_bytes", "Bytes of disk space taken, preallocated and spare segments included.",
			func(i Info) float64 { return float64(i.DiskBytes) }),
		gauge("highlander_wal_segments", "Segments of the log, without spares.",
			func(i Info) float64 { return float64(i.Segments) }),
		gauge("highlander_wal_spare_segments", "Preallocated segments waiting to be used; 0 for long means the disk is full.",
			func(i Info) float64 { return float64(i.Spares) }),
		gauge("highlander_wal_first_index", "Lowest index of the log, 0 if it is empty.",
			func(i Info) float64 { return float64(i.FirstIndex) }),
		gauge("highlander_wal_last_index", "Greatest index of the log, 0 if it is empty.",
			func(i Info) float64 { return float64(i.LastIndex) }),
	)
}
