package wire

// Protocol is the version of the remote-write protocol in which a body is written.
type Protocol uint8

const (
	// V1 is prometheus.WriteRequest, remote write 1.0.
	V1 Protocol = 1
	// V2 is io.prometheus.write.v2.Request, remote write 2.0.
	V2 Protocol = 2
)

// Counts is what one pass over a request, or a part of one, finds in it. Times are Unix milliseconds of
// samples (floats and histograms); both are zero where there are none.
type Counts struct {
	Series     uint32
	Floats     uint32
	Histograms uint32
	Exemplars  uint32
	Metadata   uint32
	MinTime    int64
	MaxTime    int64
}

// Samples returns floats and histograms together: what the books count.
func (c Counts) Samples() uint64 { return uint64(c.Floats) + uint64(c.Histograms) }

func (c *Counts) add(o *Counts) {
	if o.Samples() > 0 {
		if c.Samples() == 0 {
			c.MinTime, c.MaxTime = o.MinTime, o.MaxTime
		} else {
			c.MinTime, c.MaxTime = min(c.MinTime, o.MinTime), max(c.MaxTime, o.MaxTime)
		}
	}
	c.Series += o.Series
	c.Floats += o.Floats
	c.Histograms += o.Histograms
	c.Exemplars += o.Exemplars
	c.Metadata += o.Metadata
}

// at notes the time of a sample, before the sample is counted.
func (c *Counts) at(t int64) {
	if c.Floats|c.Histograms == 0 {
		c.MinTime, c.MaxTime = t, t
		return
	}
	c.MinTime, c.MaxTime = min(c.MinTime, t), max(c.MaxTime, t)
}

func (p Protocol) String() string {
	switch p {
	case V1:
		return "remote write 1.0"
	case V2:
		return "remote write 2.0"
	}
	return "unknown protocol"
}
