package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// version is stamped by the build: -ldflags "-X main.version=1.2.3".
var version string

func (p *program) versionCommand() *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "print the version",
		Flags: []cli.Flag{outputFlag()},
		Action: func(c *cli.Context) error {
			return p.print(c, map[string]string{"version": buildVersion(), "go": runtime.Version(), "platform": platform()}, func() {
				fmt.Fprintf(p.out, "highlander %s (%s, %s)\n", buildVersion(), runtime.Version(), platform())
			})
		},
	}
}

func platform() string { return runtime.GOOS + "/" + runtime.GOARCH }

// buildVersion is the stamped version, else what the Go tool knows about the source.
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return sourceVersion(info.Settings)
}

func sourceVersion(settings []debug.BuildSetting) string {
	revision, modified := "", ""
	for _, s := range settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "-modified"
		}
	}
	if revision == "" {
		return "devel"
	}
	return "0.0.0-" + revision[:min(12, len(revision))] + modified
}
