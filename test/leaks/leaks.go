// Package leaks looks for goroutines that the tests of a package leave behind. It is for the tests of every package.
package leaks

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is for what is ending: goleak itself waits for half a second, which a busy machine does not keep.
const patience = time.Minute

// Main is goleak.VerifyTestMain with more patience.
func Main(m *testing.M, options ...goleak.Option) {
	goleak.VerifyTestMain(patient{m, options}, options...)
}

type patient struct {
	m       goleak.TestingM
	options []goleak.Option
}

// Run implements goleak.TestingM. It returns when nothing is left behind, or patience has run out.
func (p patient) Run() int {
	code := p.m.Run()
	for deadline := time.Now().Add(patience); code == 0 && goleak.Find(p.options...) != nil; {
		if time.Now().After(deadline) {
			break
		}
	}
	return code
}
