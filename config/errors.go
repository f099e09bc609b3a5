package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Error is one thing wrong with the configuration. All errors of a Config about keys are of this type.
type Error struct {
	Origin string // file:line, flag or environment variable; empty where unknown
	Key    string // like remote_write[0].url; empty for what concerns the whole file
	Text   string // what was expected, and what was there

	line int // for sorting
}

func (e *Error) Error() string {
	parts := make([]string, 0, 3)
	for _, p := range []string{e.Origin, e.Key, e.Text} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ": ")
}

// Warning is something in the file that has no effect.
type Warning struct {
	Origin string
	Text   string
}

func (w Warning) String() string {
	if w.Origin == "" {
		return w.Text
	}
	return w.Origin + ": " + w.Text
}

// origin is where the value of a key came from.
type origin struct {
	text string
	line int // 0 unless it came from a file
}

// origins maps keys, and sections, to where they came from.
type origins map[string]origin

// of finds where a key came from: its own place, else that of the section that holds it.
func (o origins) of(key string) origin {
	for key != "" {
		if at, ok := o[key]; ok {
			return at
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return origin{}
}

// note remembers where a key's value came from. What the file said about the key is forgotten with it.
func (c *Config) note(key, from string) {
	next := make(origins, len(c.origins)+1)
	maps.Copy(next, c.origins)
	next[key] = origin{text: from}
	c.origins = next
}

// wrong makes the error of a key.
func (o origins) wrong(key, format string, args ...any) *Error {
	at := o.of(key)
	return &Error{Origin: at.text, Key: key, Text: fmt.Sprintf(format, args...), line: at.line}
}

// join makes one error of many, in the order of the file.
func join(errs []*Error) error {
	slices.SortStableFunc(errs, func(a, b *Error) int { return cmp.Compare(a.line, b.line) })
	list := make([]error, len(errs))
	for i, err := range errs {
		list[i] = err
	}
	return errors.Join(list...)
}
