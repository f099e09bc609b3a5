package main

import (
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/highlander-io/highlander/config"
)

const remoteWriteURL = "remote-write.url"

// nodeFlags are the flags of commands that need a node's whole configuration. own are put with those of the
// cluster.
func nodeFlags(own ...cli.Flag) []cli.Flag {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "config.file", Category: "config", Usage: "`FILE` configuration in YAML; \"highlander config default\" prints one"},
		&cli.StringSliceFlag{Name: remoteWriteURL, Category: "remote-write",
			Usage: "`URL` a destination; repeatable; named remote-0, remote-1, … and added to those of the file"},
	}
	for _, s := range config.Settings() {
		flags = append(flags, settingFlag(s))
		if s.Key == "cluster.insecure" {
			flags = append(flags, own...)
		}
	}
	return append(flags,
		&cli.StringFlag{Name: "log.level", Category: "log", Value: "info", Usage: "`LEVEL` debug, info, warn or error"},
		&cli.StringFlag{Name: "log.format", Category: "log", Value: "logfmt", Usage: "`FORMAT` logfmt or json"},
	)
}

func settingFlag(s config.Setting) cli.Flag {
	category, _, _ := strings.Cut(s.Key, ".")
	switch {
	case s.Bool():
		return &cli.BoolFlag{Name: s.Flag(), Category: category, Usage: s.Usage}
	case s.List():
		return &cli.StringSliceFlag{Name: s.Flag(), Category: category, Usage: s.Usage}
	default:
		return &cli.StringFlag{Name: s.Flag(), Category: category, Usage: s.Usage, Value: s.Default()}
	}
}

// override is one value from the command line or the environment.
type override struct{ key, value, origin string }

// overrides are laid over the file, at the start and again at every reload (L3).
type overrides struct {
	settings []override
	urls     []override
}

func (o overrides) lay(cfg *config.Config) error {
	for _, s := range o.settings {
		if err := cfg.Set(s.key, s.value, s.origin); err != nil {
			return err
		}
	}
	for _, u := range o.urls {
		cfg.AddRemoteWrite(u.value, u.origin)
	}
	return nil
}

// overrides reads flags and environment, and refuses values that cannot be read as a usage error.
func (p *program) overrides(c *cli.Context) (overrides, error) {
	var o overrides
	for _, s := range config.Settings() {
		value, origin := p.given(c, s)
		if origin != "" {
			o.settings = append(o.settings, override{s.Key, value, origin})
		}
	}
	urls, origin := c.StringSlice(remoteWriteURL), "--"+remoteWriteURL
	if !c.IsSet(remoteWriteURL) {
		origin = config.EnvName(remoteWriteURL)
		urls = strings.Fields(p.getenv(origin)) // at spaces: a URL may have commas
	}
	for _, u := range urls {
		o.urls = append(o.urls, override{value: u, origin: origin})
	}
	trial := config.Default()
	if err := o.lay(&trial); err != nil {
		return overrides{}, usagef(c, "%s", err)
	}
	return o, nil
}

// given is a setting's value from the command line, else from the environment; origin is empty for neither.
func (p *program) given(c *cli.Context, s config.Setting) (value, origin string) {
	switch flag := s.Flag(); {
	case !c.IsSet(flag):
		if value = p.getenv(s.Env()); value == "" {
			return "", ""
		}
		return value, s.Env()
	case s.Bool():
		value = strconv.FormatBool(c.Bool(flag))
	case s.List():
		value = strings.Join(c.StringSlice(flag), ",")
	default:
		value = c.String(flag)
	}
	return value, "--" + s.Flag()
}

// enabled reads a switch that is not a key of the file.
func (p *program) enabled(c *cli.Context, flag string) (bool, error) {
	if c.IsSet(flag) {
		return c.Bool(flag), nil
	}
	env := config.EnvName(flag)
	text := p.getenv(env)
	if text == "" {
		return false, nil
	}
	on, err := strconv.ParseBool(text)
	if err != nil {
		return false, usagef(c, "%s: expected true or false, got %q", env, text)
	}
	return on, nil
}
