//go:build !seams

package fsm

// FeatureLevel is the highest feature level this build supports: 1 is everything in this package. What a level adds to the
// log is written only once FSM.FeatureLevel has reached it.
const FeatureLevel uint64 = 1
