package wire

import "math"

// sampleTime checks the sample in b[pos:] and returns its timestamp. known is the highest field number that the
// protocol knows: 2.0 has a start timestamp as field 3.
func sampleTime(b []byte, pos int, known int32) (int64, error) {
	// What every encoder writes: value, timestamp and perhaps a start timestamp, times of our days.
	const one, two = 1 + 8 + 1 + 6, 1 + 8 + 1 + 6 + 1 + 6
	n := len(b) - pos
	if (n == one || n == two && known >= 3 && b[pos+one] == 3<<3|typeVarint) && cap(b)-len(b) >= 2 &&
		b[pos] == 1<<3|typeFixed64 && b[pos+9] == 2<<3|typeVarint {
		long := b[:len(b)+2] // varint6 reads eight bytes
		t, ok := varint6(long, pos+10)
		if n == two {
			_, also := varint6(long, pos+17)
			ok = ok && also
		}
		if ok {
			return int64(t), nil
		}
	}
	return sampleTimeLong(b, pos, known)
}

func sampleTimeLong(b []byte, pos int, known int32) (t int64, err error) {
	for pos < len(b) {
		num, typ, p, err := header(b, pos)
		if err != nil {
			return 0, err
		}
		switch {
		case num == 1:
			_, pos, err = double(b, p, typ, "a sample's value")
		case num == 2:
			var v uint64
			v, pos, err = number(b, p, typ, "a sample's timestamp")
			t = int64(v)
		case num == 3 && known >= 3:
			_, pos, err = number(b, p, typ, "a sample's start timestamp")
		default:
			pos, err = skip(b, pos)
		}
		if err != nil {
			return 0, err
		}
	}
	return t, nil
}

// readSample returns what a checked sample holds.
func readSample(b []byte, pos int) (t int64, bits uint64) {
	f := fields{b: b, pos: pos}
	for f.next() {
		switch f.num {
		case 1:
			bits, _ = fixed64(b, f.start)
		case 2:
			t = int64(f.varint())
		}
	}
	return t, bits
}

// readHistogram returns what a person wants to know of a checked histogram: its time and sum.
func readHistogram(b []byte, pos int) (t int64, sum float64) {
	f := fields{b: b, pos: pos}
	for f.next() {
		switch f.num {
		case 3:
			bits, _ := fixed64(b, f.start)
			sum = math.Float64frombits(bits)
		case 15:
			t = int64(f.varint())
		}
	}
	return t, sum
}
