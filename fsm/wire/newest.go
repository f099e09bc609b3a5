package wire

// Newest takes a cheap look at a decoded body: the newest timestamp of a sample and what is in it. It validates
// nothing that it need not read; it is for the bodies of standbys. newest is zero if there is no sample.
func Newest(raw []byte, p Protocol) (newest int64, counts Counts, err error) {
	series := int32(requestSeriesV1)
	if p == V2 {
		series = requestSeriesV2
	}
	err = topLevel(raw, series, func(b []byte, pos int) error {
		counts.Series++
		return countSeries(&counts, b, pos, p)
	})
	if err == nil && p == V1 {
		err = topLevel(raw, requestMetadata, func([]byte, int) error {
			counts.Metadata++
			return nil
		})
	}
	return counts.MaxTime, counts, withProtocol(err, p)
}

func countSeries(c *Counts, b []byte, pos int, p Protocol) error {
	metadata := false
	for pos < len(b) {
		if num, _, end := shortField(b, pos); end > 0 && num == fieldLabels {
			pos = end
			continue
		}
		num, typ, body, err := header(b, pos)
		if err != nil {
			return err
		}
		kind, ok := p.kindOf(num)
		if !ok || kind == elementExemplar {
			if ok {
				c.Exemplars++
			}
			metadata = metadata || p == V2 && num == fieldMetadataV2
			if pos, err = skip(b, pos); err != nil {
				return err
			}
			continue
		}
		start, end, err := content(b, body, typ, "a sample or histogram")
		if err != nil {
			return err
		}
		if err := countSample(c, b[:end], start, kind); err != nil {
			return err
		}
		pos = end
	}
	if metadata {
		c.Metadata++
	}
	return nil
}

func countSample(c *Counts, b []byte, pos int, kind elementKind) error {
	if kind == elementSample {
		t, err := sampleTime(b, pos, 2)
		c.at(t)
		c.Floats++
		return err
	}
	t, err := histogramTime(b, pos)
	c.at(t)
	c.Histograms++
	return err
}

func histogramTime(b []byte, pos int) (t int64, err error) {
	for pos < len(b) {
		num, typ, p, err := header(b, pos)
		if err != nil {
			return 0, err
		}
		if num != 15 {
			if pos, err = skip(b, pos); err != nil {
				return 0, err
			}
			continue
		}
		var v uint64
		if v, pos, err = number(b, p, typ, "a histogram's timestamp"); err != nil {
			return 0, err
		}
		t = int64(v)
	}
	return t, nil
}

// topLevel calls fn for the content of every field of that number and skips the others.
func topLevel(raw []byte, want int32, fn func(b []byte, pos int) error) error {
	for pos := 0; pos < len(raw); {
		num, typ, p, err := header(raw, pos)
		if err != nil {
			return err
		}
		if num != want {
			if pos, err = skip(raw, pos); err != nil {
				return err
			}
			continue
		}
		start, end, err := content(raw, p, typ, "a message of the request")
		if err != nil {
			return err
		}
		if err := fn(raw[:end], start); err != nil {
			return err
		}
		pos = end
	}
	return nil
}
