package server

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/highlander-io/highlander/cluster"
	"github.com/highlander-io/highlander/fsm"
)

// metrics are what the server itself counts; everything replicated is read from the state when asked.
type metrics struct {
	reloadOK   prometheus.Gauge
	reloadTime prometheus.Gauge
}

func newMetrics(registry prometheus.Registerer, s *Server) *metrics {
	m := &metrics{
		reloadOK: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "highlander_config_last_reload_successful", Help: "Whether the last reload of the configuration succeeded.",
		}),
		reloadTime: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "highlander_config_last_reload_success_timestamp_seconds", Help: "When the configuration was last loaded successfully.",
		}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "highlander_build_info", Help: "A metric with a constant 1, labeled by version and Go version.",
		ConstLabels: prometheus.Labels{"version": s.options.Version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.reloadOK.Set(1)
	m.reloadTime.SetToCurrentTime()
	connections := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "highlander_web_connections", Help: "Connections that the web port has.",
	}, func() float64 { return float64(s.web.open.Load()) })
	refused := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "highlander_web_connections_refused_total", Help: "Connections that the web port closed because it had too many.",
	}, func() float64 { return float64(s.web.refused.Load()) })
	registry.MustRegister(m.reloadOK, m.reloadTime, build, connections, refused, collector{s})
	return m
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("highlander_"+name, help, labels, nil)
}

// What is replicated is equal on all nodes: `max without(instance)` reads it.
var (
	descReceived     = desc("samples_received_total", "Samples of every request that was opened and answered other than 503.", "tenant", "group", "source")
	descAccepted     = desc("samples_accepted_total", "Samples that were accepted for delivery.", "tenant", "group")
	descRejected     = desc("samples_rejected_total", "Samples that were refused for good.", "tenant", "group", "reason")
	descCovered      = desc("samples_covered_total", "Samples that another source had delivered before.", "tenant", "group")
	descDuplicate    = desc("samples_duplicate_total", "Samples of requests that had been accepted before.", "tenant", "group")
	descStandby      = desc("standby_requests_total", "Requests of standby sources.", "tenant", "group", "source")
	descStandbyKept  = desc("standby_requests_kept", "Requests of standby sources that are kept for a handover.", "tenant", "group")
	descStandbyGone  = desc("standby_requests_discarded_total", "Requests of standby sources that the current source has covered.", "tenant", "group")
	descStandbyUsed  = desc("standby_requests_used_total", "Requests of standby sources that a handover used.", "tenant", "group")
	descCurrent      = desc("source_current", "Whether the source is its group's current one.", "tenant", "group", "source")
	descChanges      = desc("source_changes_total", "Changes of a group's current source.", "tenant", "group", "reason")
	descNewest       = desc("source_last_sample_timestamp_seconds", "Time stamp of the newest accepted or seen sample of a source.", "tenant", "group", "source")
	descCoverage     = desc("source_coverage_ratio", "Samples per second of a source against those of the current one; 0 if not known. Where this node leads.", "tenant", "group", "source")
	descDestAccepted = desc("destination_samples_accepted_total", "Samples accepted since the destination was registered.", "destination")
	descDelivered    = desc("destination_samples_delivered_total", "Samples that the destination has taken.", "destination")
	descRedelivered  = desc("destination_samples_redelivered_total", "Delivered samples that the destination had already.", "destination")
	descRelabel      = desc("destination_samples_relabel_dropped_total", "Samples that write_relabel_configs dropped.", "destination")
	descDropped      = desc("destination_samples_dropped_total", "Samples that were given up.", "destination", "reason")
	descBacklog      = desc("destination_backlog_samples", "Accepted samples that the destination does not have yet.", "destination")
	descBacklogBytes = desc("destination_backlog_bytes", "Bytes of the log that the destination does not have yet.", "destination")
	descBacklogAge   = desc("destination_backlog_age_seconds", "Age of the oldest batch that the destination does not have yet.", "destination")
	descLetters      = desc("destination_dead_letter_samples", "Samples that the destination refused for good and that are kept.", "destination")
	descHeld         = desc("destination_held", "Whether delivery is held: misconfigured, dead letters full, or not in the file of this node.", "destination")
	descMember       = desc("cluster_member_reachable", "Whether a member of the cluster answers, where this node leads.", "member")
	descSpare        = desc("cluster_failures_tolerated", "Voters that may still fail before writes stop, where this node leads.")
	descConfig       = desc("config_info", "A metric with a constant 1, labeled by the hash of the configuration that decides things.", "hash")
	descWarnings     = desc("warnings", "Warnings that this node's status shows.")
	descFull         = desc("storage_full", "Whether this node's storage is at its limit.")
	descFullIn       = desc("storage_full_in_seconds", "Seconds until this node's storage is full at the present growth of the backlog; +Inf if it does not grow.")
	descFree         = desc("storage_free_bytes", "Bytes free on the disk of the data directory.")
)

// collector reads the replicated state at each scrape.
type collector struct{ server *Server }

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descReceived, descAccepted, descRejected, descCovered, descDuplicate, descStandby, descStandbyKept, descStandbyGone,
		descStandbyUsed, descCurrent, descChanges, descNewest, descCoverage, descDestAccepted, descDelivered, descRedelivered,
		descRelabel, descDropped, descBacklog, descBacklogBytes, descBacklogAge, descLetters, descHeld, descFull, descFullIn,
		descFree, descMember, descSpare, descConfig, descWarnings,
	} {
		ch <- d
	}
}

// sink sends constant metrics; it spares every line the channel and the kinds.
type sink chan<- prometheus.Metric

func (out sink) counter(d *prometheus.Desc, value uint64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
}

func (out sink) gauge(d *prometheus.Desc, value float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	out := sink(ch)
	for _, group := range c.server.state.Groups() {
		c.group(out, group)
	}
	for _, destination := range c.server.destinationStatus() {
		destinationMetrics(out, destination)
	}
	disk := c.server.storage.State()
	out.gauge(descFull, oneIf(disk.full != ""))
	out.gauge(descFullIn, disk.fullIn)
	out.gauge(descFree, float64(disk.freeBytes))
	members := c.server.node.Members()
	out.gauge(descConfig, 1, c.server.Config().Hash())
	out.gauge(descWarnings, float64(len(c.server.warnings(members))))
	if c.server.node.IsLeader() {
		memberMetrics(out, members)
	}
}

// memberMetrics are the leader's alone: a node that is cut off has another view, and would be believed as much.
func memberMetrics(out sink, members []cluster.Member) {
	voters, reachable := 0, 0
	answers := map[string]bool{} // by name: while a node is replaced, two members have one
	for _, member := range members {
		answers[member.Name] = answers[member.Name] || member.Reachable
		if !member.Voter {
			continue
		}
		voters++
		if member.Reachable {
			reachable++
		}
	}
	for name, answers := range answers {
		out.gauge(descMember, oneIf(answers), name)
	}
	out.gauge(descSpare, float64(reachable-(voters/2+1)))
}

func (c collector) group(out sink, group fsm.Group) {
	tenant, name, books := group.ID.Tenant, group.ID.Name, group.Books
	out.counter(descAccepted, books.Accepted, tenant, name)
	out.counter(descCovered, books.Covered, tenant, name)
	out.counter(descDuplicate, books.Duplicate, tenant, name)
	for reason, count := range books.Rejected {
		out.counter(descRejected, count, tenant, name, reason)
	}
	for reason, count := range group.Changes {
		out.counter(descChanges, count, tenant, name, reason)
	}
	rest, restStandby := books.Received, group.Standby.Requests
	for _, source := range group.Sources {
		if source.Name == "" {
			continue
		}
		out.counter(descReceived, source.Received, tenant, name, source.Name)
		out.counter(descStandby, source.Standby.Requests, tenant, name, source.Name)
		rest, restStandby = rest-source.Received, restStandby-source.Standby.Requests
	}
	// What no source is known for any more stays in the sums, under no name: else the books would not balance after a
	// source was forgotten.
	if rest > 0 || restStandby > 0 {
		out.counter(descReceived, rest, tenant, name, "")
		out.counter(descStandby, restStandby, tenant, name, "")
	}
	out.gauge(descStandbyKept, float64(group.Standby.Kept), tenant, name)
	out.counter(descStandbyGone, group.Standby.Discarded, tenant, name)
	out.counter(descStandbyUsed, group.Standby.Used, tenant, name)
	for _, source := range c.server.sourceStatus(group) {
		out.gauge(descCurrent, oneIf(source.Name == group.Current), tenant, name, source.Name)
		out.gauge(descNewest, float64(source.NewestSampleMS)/1000, tenant, name, source.Name)
		out.gauge(descCoverage, source.Coverage, tenant, name, source.Name)
	}
}

func destinationMetrics(out sink, d DestinationStatus) {
	out.counter(descDestAccepted, d.Samples.Accepted, d.Name)
	out.counter(descDelivered, d.Samples.Delivered, d.Name)
	out.counter(descRedelivered, d.Samples.Redelivered, d.Name)
	out.counter(descRelabel, d.Samples.RelabelDropped, d.Name)
	for reason, count := range d.Samples.Dropped {
		out.counter(descDropped, count, d.Name, reason)
	}
	out.gauge(descBacklog, float64(d.Backlog.Samples), d.Name)
	out.gauge(descBacklogBytes, float64(d.Backlog.Bytes), d.Name)
	out.gauge(descBacklogAge, d.Backlog.OldestSeconds, d.Name)
	out.gauge(descLetters, float64(d.Samples.DeadLetter), d.Name)
	out.gauge(descHeld, oneIf(d.State == "held"), d.Name)
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
