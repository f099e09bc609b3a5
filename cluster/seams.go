//go:build seams

package cluster

// StockStores makes snapshots and compaction follow raft's own rules: a snapshot runs ahead of the floor, and the log
// behind it goes.
func (o *Options) StockStores() { o.seams.stockStores = true }

// AnyIdentity lets Raft's connections in, whoever they are meant for, and does not look for a node at other addresses than
// its own, as raft's own transport does.
func (o *Options) AnyIdentity() {
	o.seams.oneAddress = true
	o.seams.examine = func(g greeting, own Identity) string {
		if g.Stream == streamRaft {
			return ""
		}
		return examine(g, own)
	}
}
