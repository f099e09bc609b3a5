package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decoder fills a Config from a YAML tree. It walks this package's own structs key by key, so that every value
// has a place for errors; what belongs to other libraries is checked for unknown keys, then left to its own
// decoding. It goes on after an error: a person wants to see all of them at once.
type decoder struct {
	file    string // name for errors; empty: only the line
	origins origins
	errs    []*Error
	ignored []string // "key (line n)" of keys that cannot apply
	first   int      // line of the first of them
	merges  int      // depth of `<<` inside `<<`
}

// mergesMax bounds `<<` inside `<<`: an anchor may merge itself.
const mergesMax = 16

func (d *decoder) at(line int) string {
	if d.file == "" {
		return fmt.Sprintf("line %d", line)
	}
	return fmt.Sprintf("%s:%d", d.file, line)
}

func (d *decoder) wrong(line int, key, format string, args ...any) {
	d.errs = append(d.errs, &Error{Origin: d.at(line), Key: key, Text: fmt.Sprintf(format, args...), line: line})
}

func (d *decoder) mark(key string, line int) {
	d.origins[key] = origin{text: d.at(line), line: line}
}

// value decodes n into v. An empty value keeps the default.
func (d *decoder) value(n *yaml.Node, v reflect.Value, key string) {
	n = resolve(n)
	if isNull(n) {
		return
	}
	switch {
	case isOwnStruct(v.Type()):
		d.mapping(n, v, key)
	case v.Kind() == reflect.Slice && isOwnStruct(v.Type().Elem()):
		d.sequence(n, v, key)
	default:
		d.leaf(n, v, key)
	}
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, key string) {
	if n.Kind != yaml.MappingNode {
		d.wrong(n.Line, key, "expected keys with values, got %s", describe(n))
		return
	}
	fields, _ := fieldsOf(v.Type())
	ignored := ignoredKeysOf(v)
	seen := map[string]int{}
	d.merged(n, v, key)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, val := n.Content[i], n.Content[i+1]
		if k.Tag == "!!merge" {
			continue
		}
		path := child(key, k.Value)
		if line, ok := seen[k.Value]; ok {
			d.wrong(k.Line, path, "the key was given before, in line %d", line)
			continue
		}
		seen[k.Value] = k.Line
		d.mark(path, k.Line)
		field, ok := fields[k.Value]
		switch {
		case slices.Contains(ignored, k.Value):
			d.ignore(path, k.Line)
		case !ok:
			d.unknownKey(k, key, fields)
		default:
			d.value(val, v.FieldByIndex(field.index), path)
		}
	}
}

// merged decodes what `<<` brings into a mapping, before the mapping's own keys.
func (d *decoder) merged(n *yaml.Node, v reflect.Value, key string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Tag != "!!merge" {
			continue
		}
		if d.merges == mergesMax {
			d.wrong(n.Content[i].Line, key, "a merge (<<) inside more than %d others", mergesMax)
			return
		}
		d.merges++
		sources := []*yaml.Node{resolve(n.Content[i+1])}
		if sources[0].Kind == yaml.SequenceNode {
			sources = slices.Clone(sources[0].Content)
			slices.Reverse(sources) // the first one wins
		}
		for _, src := range sources {
			d.mapping(resolve(src), v, key)
		}
		d.merges--
	}
}

func (d *decoder) sequence(n *yaml.Node, v reflect.Value, key string) {
	if n.Kind != yaml.SequenceNode {
		d.wrong(n.Line, key, "expected a list, got %s", describe(n))
		return
	}
	list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		elem := list.Index(i)
		if e, ok := elem.Addr().Interface().(interface{ setDefaults() }); ok {
			e.setDefaults()
		}
		path := fmt.Sprintf("%s[%d]", key, i)
		d.mark(path, item.Line)
		d.value(item, elem, path)
	}
	v.Set(list)
}

// leaf decodes a value whose inside this package does not know.
func (d *decoder) leaf(n *yaml.Node, v reflect.Value, key string) {
	before := len(d.errs)
	d.checkKeys(n, v.Type(), key)
	if len(d.errs) > before {
		return
	}
	fresh := reflect.New(v.Type())
	if err := n.Decode(fresh.Interface()); err != nil {
		d.leafErrors(n, v.Type(), key, err)
		return
	}
	v.Set(fresh.Elem())
}

// leafErrors puts what the library says into this package's words. For a plain value the expected form says
// it all; else the library's text is kept, and its line where it has one.
func (d *decoder) leafErrors(n *yaml.Node, t reflect.Type, key string, err error) {
	if want := expected(t); want != "" {
		d.wrong(n.Line, key, "expected %s, got %s", want, describe(n))
		return
	}
	texts := []string{err.Error()}
	var types *yaml.TypeError
	if errors.As(err, &types) {
		texts = types.Errors
	}
	for _, text := range texts {
		line := n.Line
		if m := linePattern.FindStringSubmatch(text); m != nil {
			line, _ = strconv.Atoi(m[1])
			text = m[2]
		}
		d.wrong(line, key, "%s", text)
	}
}

var linePattern = regexp.MustCompile(`^(?:yaml: )?line ([0-9]+): (.*)$`)

// checkKeys reports unknown keys anywhere below n, as far as t names keys at all.
func (d *decoder) checkKeys(n *yaml.Node, t reflect.Type, key string) {
	n = resolve(n)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for i, item := range n.Content {
			d.checkKeys(item, t.Elem(), fmt.Sprintf("%s[%d]", key, i))
		}
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Struct:
		fields, open := fieldsOf(t)
		if open {
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			if k.Tag == "!!merge" {
				continue
			}
			field, ok := fields[k.Value]
			if !ok {
				d.unknownKey(k, key, fields)
				continue
			}
			d.mark(child(key, k.Value), k.Line)
			d.checkKeys(n.Content[i+1], field.typ, child(key, k.Value))
		}
	}
}

func (d *decoder) unknownKey(k *yaml.Node, parent string, fields map[string]field) {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	d.wrong(k.Line, "", "unknown key %q%s", child(parent, k.Value), hint(k.Value, names))
}

func (d *decoder) ignore(key string, line int) {
	if len(d.ignored) == 0 {
		d.first = line
	}
	d.ignored = append(d.ignored, fmt.Sprintf("%s (line %d)", key, line))
}

// warnings are at most one, however many keys it is about.
func (d *decoder) warnings() []Warning {
	if len(d.ignored) == 0 {
		return nil
	}
	return []Warning{{
		Origin: d.at(d.first),
		Text:   "keys that have no effect in highlander are ignored: " + strings.Join(d.ignored, ", "),
	}}
}

// field is one key of a struct.
type field struct {
	index []int
	typ   reflect.Type
}

// fieldsOf lists the keys of a struct by its yaml tags; open is true where any key is allowed.
func fieldsOf(t reflect.Type) (fields map[string]field, open bool) {
	fields = map[string]field{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case !f.IsExported() || name == "-":
		case slices.Contains(strings.Split(options, ","), "inline"):
			if f.Type.Kind() == reflect.Map {
				return nil, true
			}
			inner, _ := fieldsOf(f.Type)
			for k, in := range inner {
				fields[k] = field{index: append([]int{i}, in.index...), typ: in.typ}
			}
		default:
			if name == "" {
				name = strings.ToLower(f.Name)
			}
			fields[name] = field{index: []int{i}, typ: f.Type}
		}
	}
	return fields, false
}

func ignoredKeysOf(v reflect.Value) []string {
	if s, ok := v.Addr().Interface().(interface{ ignoredKeys() []string }); ok {
		return s.ignoredKeys()
	}
	return nil
}

var ownPackage = reflect.TypeFor[Config]().PkgPath()

func isOwnStruct(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t.PkgPath() == ownPackage
}

func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func child(parent, key string) string {
	if parent == "" {
		return key
	}
	return parent + "." + key
}

// describe says what is there instead of what was expected.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys with values"
	case yaml.SequenceNode:
		return "a list"
	default:
		return strconv.Quote(n.Value)
	}
}

// expected says how a plain value of a type is written; empty for everything else.
func expected(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Bytes]():
		return expectedBytes
	case reflect.TypeFor[Duration]():
		return expectedDuration
	case reflect.TypeFor[[]string]():
		return "a list of texts"
	case reflect.TypeFor[map[string]string]():
		return "names with texts"
	}
	if t.PkgPath() != "" {
		return ""
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.String:
		return "a text"
	default:
		return ""
	}
}

const expectedDuration = "a duration such as 500ms, 15s, 1m or 1d"
