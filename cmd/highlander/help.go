package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

// printHelp explains a command: what it does, how it is called, its commands or its flags.
func printHelp(w io.Writer, c *cli.Command, path []string) {
	name := strings.Join(append([]string{"highlander"}, path...), " ")
	if len(path) == 0 {
		fmt.Fprintf(w, "highlander: %s\n\n", c.Usage)
	} else {
		fmt.Fprintf(w, "%s: %s\n\n", name, c.Usage)
	}
	fmt.Fprintf(w, "Usage: %s\n", usageLine(name, c))
	if c.Description != "" {
		fmt.Fprintf(w, "\n%s\n", c.Description)
	}
	if len(c.Subcommands) > 0 {
		printCommands(w, c.Subcommands)
		fmt.Fprintf(w, "\n\"%s COMMAND --help\" says more about a command.\n", name)
	}
	printFlags(w, c.Flags)
}

func usageLine(name string, c *cli.Command) string {
	parts := []string{name}
	if len(c.Subcommands) > 0 {
		parts = append(parts, "COMMAND")
	}
	if len(c.Flags) > 0 || len(c.Subcommands) > 0 {
		parts = append(parts, "[FLAGS]")
	}
	if c.ArgsUsage != "" {
		parts = append(parts, c.ArgsUsage)
	}
	return strings.Join(parts, " ")
}

func printCommands(w io.Writer, commands []*cli.Command) {
	fmt.Fprint(w, "\nCommands:\n")
	width := 0
	for _, c := range commands {
		width = max(width, len(signature(c)))
	}
	for _, c := range commands {
		fmt.Fprintf(w, "  %-*s  %s\n", width, signature(c), c.Usage)
	}
}

func signature(c *cli.Command) string { return strings.TrimSpace(c.Name + " " + c.ArgsUsage) }

// printFlags lists flags under the headings of their categories, in their own order.
func printFlags(w io.Writer, flags []cli.Flag) {
	heading := ""
	for i, flag := range flags {
		category := "Flags"
		if f, ok := flag.(cli.CategorizableFlag); ok && f.GetCategory() != "" {
			category = f.GetCategory()
		}
		if i == 0 || category != heading {
			heading = category
			fmt.Fprintf(w, "\n%s:\n", heading)
		}
		printFlag(w, flag.(cli.DocGenerationFlag), flag.Names()[0])
	}
}

// Column and width of the explanations of flags.
const (
	helpIndent = 40
	helpWidth  = 80
)

func printFlag(w io.Writer, flag cli.DocGenerationFlag, name string) {
	placeholder, usage := unquote(flag.GetUsage())
	head := strings.TrimRight("  --"+name+" "+placeholder, " ")
	if value := strings.Trim(flag.GetValue(), `"`); value != "" && value != "false" && !strings.Contains(usage, "(default") {
		usage += fmt.Sprintf(" (default: %s)", value)
	}
	for i, text := range wrap(usage, helpWidth) {
		if i == 0 && len(head) > helpIndent-2 {
			fmt.Fprintln(w, head)
			head = ""
		}
		fmt.Fprintf(w, "%-*s%s\n", helpIndent, head, text)
		head = ""
	}
}

// unquote takes the name of a flag's value, in backquotes, out of its explanation.
func unquote(usage string) (placeholder, text string) {
	before, rest, ok := strings.Cut(usage, "`")
	if !ok {
		return "", usage
	}
	placeholder, after, _ := strings.Cut(rest, "`")
	return placeholder, strings.TrimSpace(before + strings.TrimSpace(after))
}

func wrap(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return append(lines, line)
}
