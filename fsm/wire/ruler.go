package wire

// Ruler measures decoded 2.0 bodies. Its memory serves one call after the other.
type Ruler struct {
	sizes []int32 // of the symbols
	refs  []uint32
}

// WrittenOut is what Scan finds as Request.WrittenOut, at a fraction of its price, of a body that was scanned when it was accepted.
func (u *Ruler) WrittenOut(rawV2 []byte) (n int64, err error) {
	u.sizes = u.sizes[:0]
	err = topLevel(rawV2, requestSymbols, func(b []byte, pos int) error {
		u.sizes = append(u.sizes, int32(len(b)-pos))
		return nil
	})
	if err != nil {
		return 0, err
	}
	err = topLevel(rawV2, requestSeriesV2, func(b []byte, pos int) error {
		size, err := u.series(b, pos)
		n += size
		return err
	})
	return n, err
}

// ruler measures the series of r.
func (r *Request) ruler() *Ruler {
	u := &Ruler{sizes: make([]int32, len(r.symbols))}
	for i := range r.symbols {
		u.sizes[i] = int32(r.symbols[i].len())
	}
	return u
}

// series is what the symbols take that a series refers to.
func (u *Ruler) series(b []byte, pos int) (n int64, err error) {
	var m metadataV2
	described := false
	for pos < len(b) {
		num, typ, p, err := header(b, pos)
		if err != nil {
			return 0, err
		}
		var start, size int
		switch num {
		case 1:
			size, pos, err = u.symbols(b, p, typ)
			n += int64(size)
		case exemplarsV2:
			if start, pos, err = content(b, p, typ, "an exemplar"); err == nil {
				size, err = u.exemplar(b[:pos], start)
				n += int64(size)
			}
		case fieldMetadataV2:
			if start, pos, err = content(b, p, typ, "metadata"); err == nil {
				err, described = m.read(b[:pos], start), true
			}
		default:
			pos, err = skip(b, pos)
		}
		if err != nil {
			return 0, err
		}
	}
	if described {
		n += int64(u.symbol(m.help) + u.symbol(m.unit))
	}
	return n, nil
}

func (u *Ruler) exemplar(b []byte, pos int) (n int, err error) {
	for pos < len(b) {
		num, typ, p, err := header(b, pos)
		if err != nil {
			return 0, err
		}
		if num != 1 {
			if pos, err = skip(b, pos); err != nil {
				return 0, err
			}
			continue
		}
		var size int
		if size, pos, err = u.symbols(b, p, typ); err != nil {
			return 0, err
		}
		n += size
	}
	return n, nil
}

// symbols reads references.
func (u *Ruler) symbols(b []byte, pos int, typ uint8) (n, next int, err error) {
	if u.refs, next, err = readRefs(u.refs[:0], b, pos, typ); err != nil {
		return 0, 0, err
	}
	for _, ref := range u.refs {
		n += u.symbol(ref)
	}
	return n, next, nil
}

func (u *Ruler) symbol(ref uint32) int {
	if int(ref) >= len(u.sizes) {
		return 0 // the series was refused
	}
	return int(u.sizes[ref]) + refBytes
}
