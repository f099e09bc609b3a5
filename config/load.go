package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strconv"

	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"
)

// Load reads a configuration file over the defaults. It does not validate (see the package's doc): lay flags
// over the result, then call Validate.
func Load(path string) (Config, []Warning, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, nil, fmt.Errorf("configuration file: %w", err)
	}
	c, warnings, err := parse(data, path)
	if err != nil {
		return Config{}, nil, err
	}
	c.setDirectory(filepath.Dir(path))
	return c, warnings, nil
}

// Parse is Load for what is in memory. Relative paths stay as they are.
func Parse(data []byte) (Config, []Warning, error) { return parse(data, "") }

func parse(data []byte, file string) (Config, []Warning, error) {
	c := Default()
	d := &decoder{file: file, origins: origins{}}
	root, err := readDocument(data, d)
	if err != nil {
		return Config{}, nil, err
	}
	if root != nil {
		d.value(root, reflect.ValueOf(&c).Elem(), "")
	}
	if len(d.errs) == 0 { // else keys would be called missing that are only misspelt
		for i := range c.RemoteWrite {
			d.normalize(&c.RemoteWrite[i], fmt.Sprintf("remote_write[%d]", i))
		}
	}
	if len(d.errs) > 0 {
		return Config{}, nil, join(d.errs)
	}
	c.origins = d.origins
	return c, d.warnings(), nil
}

// readDocument reads the one document of a file; nil if the file is empty.
func readDocument(data []byte, d *decoder) (*yaml.Node, error) {
	var doc, more yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, d.syntax(err)
	}
	if err := dec.Decode(&more); err == nil {
		return nil, &Error{Origin: d.at(more.Line), Text: "a second document: expected one (is there a stray \"---\"?)"}
	} else if !errors.Is(err, io.EOF) {
		return nil, d.syntax(err)
	}
	return doc.Content[0], nil
}

// syntax makes an error of a file that is not YAML.
func (d *decoder) syntax(err error) error {
	text := err.Error()
	if m := linePattern.FindStringSubmatch(text); m != nil {
		line, _ := strconv.Atoi(m[1])
		return &Error{Origin: d.at(line), Text: "not valid YAML: " + m[2], line: line}
	}
	return &Error{Origin: d.file, Text: "not valid YAML: " + text}
}

// normalize lets Prometheus' library check the HTTP client's keys against each other; it also brings older
// spellings (bearer_token) into their present form, which is why it happens here and not in Validate.
func (d *decoder) normalize(r *RemoteWrite, key string) {
	r.HTTP.FollowRedirects = false
	if err := r.HTTP.Validate(); err != nil {
		at := d.origins.of(key)
		d.errs = append(d.errs, &Error{Origin: at.text, Key: key, Text: err.Error(), line: at.line})
	}
	for _, rule := range r.WriteRelabelConfigs {
		if rule != nil {
			rule.NameValidationScheme = model.UTF8Validation // its library wants one before the rule is used
		}
	}
}

// setDirectory makes the file's relative paths relative to the file. storage.path is left out on purpose.
func (c *Config) setDirectory(dir string) {
	for _, path := range []*string{&c.Web.ConfigFile, &c.Cluster.TLS.CAFile, &c.Cluster.TLS.CertFile, &c.Cluster.TLS.KeyFile} {
		*path = promconfig.JoinDir(dir, *path)
	}
	for i := range c.RemoteWrite {
		c.RemoteWrite[i].HTTP.SetDirectory(dir)
	}
}
