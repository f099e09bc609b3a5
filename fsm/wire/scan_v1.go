package wire

// scanV1 reads a prometheus.WriteRequest: series as field 1, metadata as field 3.
func (r *Request) scanV1() error {
	b := r.raw
	foreign := 0 // fields that 2.0 has at this place
	for pos := 0; pos < len(b); {
		num, typ, p, err := header(b, pos)
		if err != nil {
			return err
		}
		switch num {
		case 1:
			start, end, err := content(b, p, typ, "a series")
			if err != nil {
				return err
			}
			r.current = len(r.Series)
			s := r.add(pos, start, end)
			if err := r.seriesV1(b[:end], start, s); err != nil {
				return err
			}
			r.finish(s)
			pos = end
		case 3:
			start, end, err := content(b, p, typ, "metadata")
			if err != nil {
				return err
			}
			if err := checkMetadataV1(b[:end], start); err != nil {
				return err
			}
			r.Counts.Metadata++
			r.keep(pos, end, true)
			pos = end
		default:
			next, err := skip(b, pos)
			if err != nil {
				return err
			}
			if (num == 4 || num == 5) && typ == typeBytes {
				foreign++
			}
			r.keep(pos, next, false)
			pos = next
		}
	}
	if foreign > 0 && len(r.Series) == 0 && r.Counts.Metadata == 0 {
		return damageOther(V1, V2)
	}
	return r.checkExtra()
}

// keep remembers a field of the request that is not a series: it goes into the first part.
func (r *Request) keep(start, end int, metadata bool) {
	r.extra = append(r.extra, extra{span{int32(start), int32(end)}, metadata})
}

func (r *Request) checkExtra() error {
	for _, x := range r.extra {
		if x.len() > r.rawMax {
			return &DamageError{Offset: int(x.start), Expected: "metadata and unknown fields that fit an entry", Got: "one that exceeds it"}
		}
	}
	return nil
}

func (r *Request) seriesV1(b []byte, pos int, s *Series) error {
	r.named.reset(len(r.matcher.pairs))
	c := labelCheck{}
	for pos < len(b) {
		head := pos
		num, typ, p, err := header(b, pos)
		if err != nil {
			return err
		}
		if num > 4 {
			if pos, err = skip(b, pos); err != nil {
				return err
			}
			continue
		}
		if typ != typeBytes {
			return wrongType(pos, typ, "labels, samples, exemplars or histograms of a series")
		}
		start, end := block(b, p)
		if start < 0 {
			return damage(b, p, start, "labels, samples, exemplars or histograms of a series")
		}
		pos = end
		switch num {
		case 1:
			l, err := readLabel(b[:end], start)
			if err != nil {
				return err
			}
			if c.count == 0 {
				c.from = head
			}
			c.to = end
			c.bytes += end - head
			r.labelV1(s, &c, l, head, end)
		case 2:
			t, err := sampleTime(b[:end], start, 2)
			if err != nil {
				return err
			}
			s.Counts.at(t)
			s.Counts.Floats++
		case 3:
			if err := checkExemplarV1(b[:end], start); err != nil {
				return err
			}
			s.Counts.Exemplars++
		default:
			if err := r.histogram(b[:end], start, s); err != nil {
				return err
			}
		}
	}
	r.judgeLabels(s, &c)
	r.judgeSize(s, c.bytes, 0)
	return nil
}

// histogram reads one histogram of a series, in either protocol.
func (r *Request) histogram(b []byte, pos int, s *Series) error {
	h := &r.scratch
	if err := h.read(b, pos, r.Protocol); err != nil {
		return err
	}
	s.Counts.at(h.time)
	s.Counts.Histograms++
	if f := h.fault(); f != "" {
		r.refuse(s, ReasonBadHistogram, "histogram at %d ms: %s", h.time, f)
	}
	return nil
}

// labelV1 takes a label into account while the series is read.
func (r *Request) labelV1(s *Series, c *labelCheck, l labelSpan, head, end int) {
	off, n := int(l.name.start), l.name.len()
	prefix := prefixOf(r.raw, off, n)
	if c.count > 0 && prefix <= c.prefix && (prefix < c.prefix || string(r.bytes(l.name)) <= string(r.bytes(c.last))) {
		s.sorted = false
	}
	c.prefix, c.last = prefix, l.name
	c.count++
	switch {
	case n == 0:
		c.nameless = true
	case n == len(metricName) && prefix == metricPrefix:
		c.metric, c.hasMetric = l.value, true
	}
	if w := r.matcher.find(r.raw, off, n, prefix); w != nil {
		r.named.note(w, r.bytes(l.value))
		if w.replica {
			r.cuts = append(r.cuts, span{int32(head), int32(end)})
			s.cuts++
			s.Replica = true
		}
	}
}

// checkExemplarV1 checks an exemplar's structure. Its labels are not validated: no receiver refuses samples for
// them.
func checkExemplarV1(b []byte, pos int) error {
	for pos < len(b) {
		num, typ, p, err := header(b, pos)
		if err != nil {
			return err
		}
		switch num {
		case 1:
			var start int
			if start, pos, err = content(b, p, typ, "an exemplar's label"); err == nil {
				_, err = readLabel(b[:pos], start)
			}
		case 2:
			_, pos, err = double(b, p, typ, "an exemplar's value")
		case 3:
			_, pos, err = number(b, p, typ, "an exemplar's timestamp")
		default:
			pos, err = skip(b, pos)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func checkMetadataV1(b []byte, pos int) error {
	for pos < len(b) {
		num, typ, p, err := header(b, pos)
		if err != nil {
			return err
		}
		switch num {
		case 1:
			_, pos, err = number(b, p, typ, "a metric's type")
		case 2, 4, 5:
			_, pos, err = content(b, p, typ, "a metric's name, help or unit")
		default:
			pos, err = skip(b, pos)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
