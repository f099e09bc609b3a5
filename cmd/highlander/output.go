package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"
)

func outputFlag() cli.Flag {
	return &cli.StringFlag{Name: "output", Value: "table", Usage: "`FORMAT` table for people or json for programs"}
}

// wantsJSON reads --output.
func wantsJSON(c *cli.Context) (bool, error) {
	switch format := c.String("output"); format {
	case "table":
		return false, nil
	case "json":
		return true, nil
	default:
		return false, usagef(c, "--output: expected table or json, got %q", format)
	}
}

// print shows data as JSON, or calls people to show it to people (L5).
func (p *program) print(c *cli.Context, data any, people func()) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	if !asJSON {
		people()
		return nil
	}
	return p.printJSON(data)
}

func (p *program) printJSON(data any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(data); err != nil {
		return err
	}
	_, err := p.out.Write(text.Bytes())
	return err
}

// printDone confirms a command that changed something.
func (p *program) printDone(c *cli.Context, format string, args ...any) error {
	message := fmt.Sprintf(format, args...)
	return p.print(c, map[string]string{"done": message}, func() { fmt.Fprintln(p.out, printable(message)) })
}

// sizeText is a size with three digits or so: 11.8MiB.
func sizeText(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	i := 0
	for n >= 1024 && i < len(units)-1 {
		n, i = n/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%.0fB", n)
	}
	return fmt.Sprintf("%.1f%s", n, units[i])
}

// durationText is a duration in its largest fitting unit: 350ms, 12s, 5m, 3h, 2d.
func durationText(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + durationText(-d)
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0fm", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0fh", d.Hours())
	default:
		return fmt.Sprintf("%.0fd", d.Hours()/24)
	}
}

// agoText says how long ago t was.
func (p *program) agoText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return durationText(max(p.now().Sub(t), 0)) + " ago"
}

// sampleText says how far a sample's time stamp is behind now.
func (p *program) sampleText(milliseconds int64) string {
	if milliseconds == 0 {
		return ""
	}
	d := p.now().Sub(time.UnixMilli(milliseconds))
	if d < 0 {
		return durationText(-d) + " ahead"
	}
	return durationText(d) + " ago"
}
