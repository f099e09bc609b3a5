package wal

import (
	"testing"

	"github.com/highlander-io/highlander/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }
