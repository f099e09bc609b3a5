package wire

import (
	"fmt"
	"testing"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/s2"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

const benchSamples = 2000

// perSample reports what a developer compares: nanoseconds per sample.
func perSample(b *testing.B, samples int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(samples), "ns/sample")
}

func BenchmarkScanV1(b *testing.B) { benchScan(b, typicalV1(b, benchSamples), V1, pairs) }
func BenchmarkScanV2(b *testing.B) { benchScan(b, typicalV2(b, benchSamples), V2, pairs) }

func benchScan(b *testing.B, raw []byte, p Protocol, l Labels) {
	var r Request
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Scan(raw, p, l); err != nil {
			b.Fatal(err)
		}
	}
	perSample(b, benchSamples)
}

func BenchmarkUnmarshalV1(b *testing.B) {
	raw := typicalV1(b, benchSamples)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		var req prompb.WriteRequest
		if err := req.Unmarshal(raw); err != nil {
			b.Fatal(err)
		}
	}
	perSample(b, benchSamples)
}

func BenchmarkUnmarshalV2(b *testing.B) {
	raw := typicalV2(b, benchSamples)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		var req writev2.Request
		if err := req.Unmarshal(raw); err != nil {
			b.Fatal(err)
		}
	}
	perSample(b, benchSamples)
}

func BenchmarkNewestV1(b *testing.B) {
	raw := typicalV1(b, benchSamples)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Newest(raw, V1); err != nil {
			b.Fatal(err)
		}
	}
	perSample(b, benchSamples)
}

// BenchmarkScanIdentity is what a standby's request costs, named by the first pair, by a later one, or by none.
func BenchmarkScanIdentity(b *testing.B) {
	for _, p := range []Protocol{V1, V2} {
		for name, l := range map[string]Labels{
			"first": pairs,
			"later": {Pairs: []Pair{{"prometheus", "prometheus_replica"}, {"cluster", "__replica__"}}},
			"none":  {Pairs: []Pair{{"prometheus", "prometheus_replica"}}},
		} {
			b.Run(fmt.Sprintf("V%d/%s", p, name), func(b *testing.B) {
				raw := typicalV1(b, benchSamples)
				if p == V2 {
					raw = typicalV2(b, benchSamples)
				}
				b.ReportAllocs()
				for b.Loop() {
					if err := ScanIdentity(raw, p, l, func(_, _ []byte) {}); err != nil {
						b.Fatal(err)
					}
				}
				perSample(b, benchSamples)
			})
		}
	}
}

func BenchmarkDecompress(b *testing.B) {
	raw := typicalV1(b, benchSamples)
	for name, body := range map[string][]byte{"golang-encoded": snappy.Encode(nil, raw), "s2-encoded": s2.EncodeSnappy(nil, raw)} {
		dst := make([]byte, len(raw))
		b.Run("golang/"+name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if _, err := snappy.Decode(dst, body); err != nil {
					b.Fatal(err)
				}
			}
			perSample(b, benchSamples)
		})
		b.Run("klauspost/"+name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if _, err := s2.Decode(dst, body); err != nil {
					b.Fatal(err)
				}
			}
			perSample(b, benchSamples)
		})
	}
}

func BenchmarkCompress(b *testing.B) {
	raw := typicalV1(b, benchSamples)
	dst := make([]byte, 2*len(raw))
	for name, encode := range map[string]func(dst, src []byte) []byte{
		"golang": snappy.Encode, "s2": s2.EncodeSnappy, "s2-better": s2.EncodeSnappyBetter,
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			var n int
			for b.Loop() {
				n = len(encode(dst, raw))
			}
			b.ReportMetric(float64(n), "stored-bytes")
			perSample(b, benchSamples)
		})
	}
}

func BenchmarkPartsStripV1(b *testing.B) { benchParts(b, typicalV1(b, benchSamples), V1) }
func BenchmarkPartsStripV2(b *testing.B) { benchParts(b, typicalV2(b, benchSamples), V2) }

func benchParts(b *testing.B, raw []byte, p Protocol) {
	var r Request
	if err := r.Scan(raw, p, pairs); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Parts(nil, true, true, 0); err != nil {
			b.Fatal(err)
		}
	}
	perSample(b, benchSamples)
}

// BenchmarkRewriteByStructs is what a proxy does that decodes and encodes.
func BenchmarkRewriteByStructs(b *testing.B) {
	body := snappy.Encode(nil, typicalV1(b, benchSamples))
	b.ReportAllocs()
	for b.Loop() {
		raw, err := snappy.Decode(nil, body)
		if err != nil {
			b.Fatal(err)
		}
		var req prompb.WriteRequest
		if err := req.Unmarshal(raw); err != nil {
			b.Fatal(err)
		}
		for i := range req.Timeseries {
			ts := &req.Timeseries[i]
			ts.Labels = append(ts.Labels[:1], ts.Labels[2:]...)
		}
		out, err := req.Marshal()
		if err != nil {
			b.Fatal(err)
		}
		snappy.Encode(nil, out)
	}
	perSample(b, benchSamples)
}

// BenchmarkRewrite is the same by this package: decompress, scan, strip, compress.
func BenchmarkRewrite(b *testing.B) {
	body := Compress(nil, typicalV1(b, benchSamples))
	var r Request
	var raw []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if raw, err = Decompress(raw, body, 32<<20); err != nil {
			b.Fatal(err)
		}
		if err = r.Scan(raw, V1, pairs); err != nil {
			b.Fatal(err)
		}
		if _, err = r.Parts(nil, true, true, 0); err != nil {
			b.Fatal(err)
		}
	}
	perSample(b, benchSamples)
}

func BenchmarkMergeV1(b *testing.B) {
	body := Compress(nil, typicalV1(b, benchSamples))
	bodies := make([][]byte, 16)
	for i := range bodies {
		bodies[i] = body
	}
	var dst []byte
	b.SetBytes(int64(16 * len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = MergeV1(dst, bodies...); err != nil {
			b.Fatal(err)
		}
	}
	perSample(b, 16*benchSamples)
}

func BenchmarkMergeV2(b *testing.B) {
	body := Compress(nil, typicalV2(b, benchSamples))
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = MergeV2(dst, body, body, body, body); err != nil {
			b.Fatal(err)
		}
	}
	perSample(b, 4*benchSamples)
}

func BenchmarkToV1(b *testing.B) {
	raw := typicalV2(b, benchSamples)
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = ToV1(dst, raw); err != nil {
			b.Fatal(err)
		}
	}
	perSample(b, benchSamples)
}

func BenchmarkWrittenOut(b *testing.B) {
	raw := typicalV2(b, benchSamples)
	var u Ruler
	b.ReportAllocs()
	for b.Loop() {
		if _, err := u.WrittenOut(raw); err != nil {
			b.Fatal(err)
		}
	}
	perSample(b, benchSamples)
}

func BenchmarkShards(b *testing.B) {
	var r Request
	if err := r.Scan(typicalV1(b, benchSamples), V1, Labels{}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r.Shards(8)
	}
	perSample(b, benchSamples)
}
