//go:build !linux

package wal

import (
	"errors"
	"os"
	"syscall"
)

func datasync(f *os.File) error { return f.Sync() }

func allocate(f *os.File, size int64) error { return fill(f, size) }

// noSpace reports that a disk is full.
func noSpace(err error) bool { return errors.Is(err, syscall.ENOSPC) }
