package config

import _ "embed"

//go:embed default.yml
var defaultFile string

// DefaultFile is a commented file with every scalar key at its default.
func DefaultFile() string { return defaultFile }
