package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/highlander-io/highlander/config"
)

// usageError is a command line that makes no sense (L1).
type usageError struct {
	path string // the command whose help says how it is meant
	text string
}

func (e *usageError) Error() string { return e.text }

// usagef makes the usage error of a running command.
func usagef(c *cli.Context, format string, args ...any) error {
	return &usageError{path: c.Command.HelpName, text: fmt.Sprintf(format, args...)}
}

// invocation is a command line in order: the command, then flags, then arguments (L2).
type invocation struct {
	command *cli.Command // the root's has the app's name
	path    []string     // names of the commands down to it
	flags   []string     // --name=value
	args    []string
	help    bool
}

// line is what urfave/cli reads without surprises.
func (v *invocation) line(name string) []string {
	line := slices.Concat([]string{name}, v.path, v.flags)
	return append(append(line, "--"), v.args...)
}

// arrange reads a command line against the tree of commands.
func arrange(app *cli.App, line []string) (*invocation, error) {
	root := &cli.Command{
		Name: app.Name, HelpName: app.Name, Usage: app.Usage, Description: app.Description, Subcommands: app.Commands,
	}
	v := &invocation{command: root}
	known := flagsBelow(root)
	for i := 0; i < len(line); i++ {
		word := line[i]
		switch {
		case word == "--":
			v.args = append(v.args, line[i+1:]...)
			return v, v.check(app.Name)
		case len(word) > 1 && word[0] == '-':
			rest, err := v.takeFlag(app.Name, known, word, line[i+1:])
			if err != nil {
				return nil, err
			}
			i = len(line) - len(rest) - 1
		case len(v.command.Subcommands) > 0:
			if err := v.descend(app.Name, word); err != nil {
				return nil, err
			}
		default:
			v.args = append(v.args, word)
		}
	}
	return v, v.check(app.Name)
}

// takeFlag reads one flag and returns what follows it.
func (v *invocation) takeFlag(app string, known map[string]cli.Flag, word string, rest []string) ([]string, error) {
	name, value, hasValue := strings.Cut(strings.TrimPrefix(word[1:], "-"), "=")
	if name == "help" || name == "h" {
		v.help = true
		return rest, nil
	}
	if name == "version" && v.command.Name == app && len(v.path) == 0 {
		return rest, v.descend(app, "version")
	}
	flag, ok := known[name]
	if !ok {
		if len(v.command.Subcommands) == 0 {
			known = flagsOf(v.command)
		}
		valid := slices.Collect(maps.Keys(known))
		return nil, v.wrong(app, "unknown flag --%s%s", name, didYouMean("--", name, valid))
	}
	_, isSwitch := flag.(*cli.BoolFlag)
	switch {
	case isSwitch && !hasValue:
		value = "true"
	case !hasValue && len(rest) == 0:
		return nil, v.wrong(app, "flag --%s needs a value", name)
	case !hasValue:
		value, rest = rest[0], rest[1:]
	}
	v.flags = append(v.flags, "--"+name+"="+value)
	return rest, nil
}

// descend goes from a command group to one of its commands.
func (v *invocation) descend(app, word string) error {
	if word == "help" {
		v.help = true
		return nil
	}
	for _, sub := range v.command.Subcommands {
		if sub.HasName(word) {
			v.command, v.path = sub, append(v.path, sub.Name)
			return nil
		}
	}
	var valid []string
	for _, sub := range v.command.Subcommands {
		valid = append(valid, sub.Name)
	}
	what := fmt.Sprintf("%q", word)
	if len(v.path) > 0 {
		what = fmt.Sprintf("%q of %q", word, strings.Join(v.path, " "))
	}
	return v.wrong(app, "unknown command %s%s", what, didYouMean("", word, valid))
}

// check compares what was given with what the command takes.
func (v *invocation) check(app string) error {
	if v.help {
		return nil
	}
	if len(v.command.Subcommands) > 0 {
		var valid []string
		for _, sub := range v.command.Subcommands {
			valid = append(valid, sub.Name)
		}
		return v.wrong(app, "a command is missing: one of %s", strings.Join(valid, ", "))
	}
	own := flagsOf(v.command)
	for _, flag := range v.flags {
		name, value, _ := strings.Cut(flag[2:], "=")
		if _, ok := own[name]; !ok {
			return v.wrong(app, "flag --%s is not one of %q", name, strings.Join(v.path, " "))
		}
		if want := unreadable(own[name], value); want != "" {
			return v.wrong(app, "--%s: expected %s, got %q", name, want, value)
		}
	}
	required, optional := arity(v.command.ArgsUsage)
	if len(v.args) < len(required) {
		return v.wrong(app, "argument %s is missing", required[len(v.args)])
	}
	if most := len(required) + optional; len(v.args) > most {
		return v.wrong(app, "surplus argument %q", v.args[most])
	}
	return nil
}

// unreadable says what a flag expects if the value is none of it. The library would say so in words of its own.
func unreadable(flag cli.Flag, value string) (expected string) {
	var err error
	switch flag.(type) {
	case *cli.BoolFlag:
		_, err = strconv.ParseBool(value)
		expected = "true or false"
	case *cli.IntFlag:
		_, err = strconv.Atoi(value)
		expected = "a whole number"
	case *cli.Uint64Flag:
		_, err = strconv.ParseUint(value, 10, 64)
		expected = "a whole number of 0 or more"
	}
	if err == nil {
		return ""
	}
	return expected
}

// arity reads "GROUP SOURCE [NAME]".
func arity(usage string) (required []string, optional int) {
	for _, name := range strings.Fields(usage) {
		if strings.HasPrefix(name, "[") {
			optional++
		} else {
			required = append(required, name)
		}
	}
	return required, optional
}

func (v *invocation) wrong(app, format string, args ...any) error {
	return &usageError{path: strings.Join(append([]string{app}, v.path...), " "), text: fmt.Sprintf(format, args...)}
}

func didYouMean(prefix, wrong string, valid []string) string {
	if name, ok := config.Nearest(wrong, valid); ok {
		return fmt.Sprintf("; did you mean %s%s?", prefix, name)
	}
	return ""
}

// flagsBelow are the flags of all commands: one that comes before the command is read all the same.
func flagsBelow(c *cli.Command) map[string]cli.Flag {
	flags := flagsOf(c)
	for _, sub := range c.Subcommands {
		for name, flag := range flagsBelow(sub) {
			flags[name] = flag
		}
	}
	return flags
}

func flagsOf(c *cli.Command) map[string]cli.Flag {
	flags := map[string]cli.Flag{}
	for _, flag := range c.Flags {
		for _, name := range flag.Names() {
			flags[name] = flag
		}
	}
	return flags
}
