//go:build seams

package fsm

import "time"

// FeatureLevel is the highest feature level this build supports. In a build for tests it can be that of a later version.
var FeatureLevel uint64 = 1

// KindFuture is what the next feature level adds to the log: the kind that follows the last one.
var KindFuture = Kind(len(commands))

// SupportNextLevel makes this the build of a later version, which knows one more kind of entries. It is called before
// anything else.
func SupportNextLevel() {
	FeatureLevel++
	commands = append(commands, func() command { return new(ClusterOp) }) // as good as any: it is only to be met
}

// EncodeFuture makes an entry of the kind that the next feature level adds.
func EncodeFuture(now time.Time) []byte {
	entry, err := Encode(&ClusterOp{FeatureLevel: FeatureLevel, Time: now.UnixMilli()})
	if err != nil {
		panic("BUG: " + err.Error())
	}
	entry[1] = byte(KindFuture)
	return entry
}
