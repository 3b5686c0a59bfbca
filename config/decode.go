package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/token"

	"github.com/envexec/envexec/environ"
)

// decoder reads bodies by their stanzas. It goes on after a problem, so that one
// run finds all.
type decoder struct {
	report
	origins map[any]string      // where the value behind a pointer came from
	set     map[string]Position // dotted keys of this file
	path    []string
	blocks  map[string]Position // where each top-level block was last seen
	opened  map[string]stanza   // stanzas that serve again
	stood   map[string]bool     // dotted stanzas, of those that may stand once, that were read
	over    bool                // of a stanza that stood only the named keys change
	dups    bool                // duplicate keys are only a warning
	env     environ.Environ
	top     stanza              // where whereIs looks
	homes   map[string][]string // what it finds there

	tokenUse []tokenUse
}

// tokenUse is one mention of use_auto_auth_token, which has two places.
type tokenUse struct {
	key string
	pos Position
	on  bool
}

func (d *decoder) key(name string) string {
	return strings.Join(append(slices.Clone(d.path), name), ".")
}

// here is the dotted name of the stanza being read.
func (d *decoder) here() string { return strings.Join(d.path, ".") }

func (d *decoder) body(b body, s stanza) {
	seen := map[string]Position{}
	for _, it := range b.items {
		if s.free != nil {
			d.freeKey(it, s, seen)
			continue
		}
		if s.label != nil && s.label.name != "" && strings.EqualFold(it.name, s.label.name) {
			d.labelKey(it, s, seen)
			continue
		}
		if k, ok := s.findKey(it.name); ok {
			if k.many || d.once(it, k.name, seen) {
				d.value(it, k)
			}
			continue
		}
		if bl, ok := s.findBlock(it.name); ok {
			if bl.many || d.once(it, bl.name, seen) {
				d.block(it, bl)
			}
			continue
		}
		if bodies, ok := it.bodies(); ok && s.group != "" && strings.EqualFold(it.name, s.group) {
			for _, inside := range bodies {
				d.body(inside, stanza{blocks: s.blocks})
			}
			continue
		}
		d.doubt(it.pos, d.key(it.name), "unknown key", d.hint(it.name, s))
	}
	if s.done != nil {
		s.done(d, b)
	}
}

func (s stanza) findKey(name string) (key, bool) {
	for i := range s.keys { // a key is large: not copied until it is the one
		k := &s.keys[i]
		if strings.EqualFold(k.name, name) || slices.ContainsFunc(k.aliases, func(a string) bool { return strings.EqualFold(a, name) }) {
			return *k, true
		}
	}
	return key{}, false
}

func (s stanza) findBlock(name string) (block, bool) {
	for _, b := range s.blocks {
		if strings.EqualFold(b.name, name) {
			return b, true
		}
	}
	return block{}, false
}

// once reports whether name is met for the first time in this body.
func (d *decoder) once(it item, name string, seen map[string]Position) bool {
	first, dup := seen[name]
	if !dup {
		seen[name] = it.pos
		d.set[d.key(name)] = it.pos
		return true
	}
	message := fmt.Sprintf("given twice, first in line %d", first.Line)
	if it.assign && d.dups {
		d.warn(it.pos, d.key(name), message, "the last one counts")
		return true
	}
	d.doubt(it.pos, d.key(name), message, "")
	return d.lenient
}

func (d *decoder) freeKey(it item, s stanza, seen map[string]Position) {
	if !d.once(it, it.name, seen) {
		return
	}
	if *s.free == nil {
		*s.free = map[string]any{}
	}
	(*s.free)[it.name] = anyValue(it.val)
}

// anyValue turns a syntax tree into plain values: string, int, float64, bool, []any,
// map[string]any, nil.
func anyValue(n ast.Node) any {
	switch v := n.(type) {
	case *ast.LiteralType:
		s := literal(v)
		switch s.kind {
		case token.BOOL:
			return s.text == "true"
		case token.NUMBER:
			if i, err := strconv.ParseInt(s.text, 0, 64); err == nil {
				return int(i)
			}
			return s.text
		case token.FLOAT:
			f, _ := strconv.ParseFloat(s.text, 64)
			return f
		default:
			if s.null {
				return nil
			}
			return s.text
		}
	case *ast.ListType:
		list := []any{}
		for _, e := range v.List {
			list = append(list, anyValue(e))
		}
		return list
	case *ast.ObjectType:
		m := map[string]any{}
		for _, it := range makeBody(Position{}, v.List).items {
			m[it.name] = anyValue(it.val)
		}
		return m
	}
	return nil
}

// labelKey reads type = "…" inside a block: it stands for the label.
func (d *decoder) labelKey(it item, s stanza, seen map[string]Position) {
	sc, ok := it.scalar()
	if !ok || sc.kind != token.STRING {
		d.doubt(it.pos, d.key(it.name), "must be a string", "")
		return
	}
	if d.once(it, s.label.name, seen) {
		d.setLabel(it.pos, s.label, sc.text)
	}
}

func (d *decoder) setLabel(pos Position, l *label, text string) {
	if l.fold {
		text = strings.ToLower(text)
	}
	if len(l.allow) > 0 && !slices.Contains(l.allow, text) {
		d.doubt(pos, d.key(l.name), fmt.Sprintf("%q is not supported", text), choose(text, l.allow))
	}
	*l.to = text
}

func (d *decoder) block(it item, bl block) {
	if bl.why != "" {
		d.noEffect(it.pos, d.key(bl.name), bl.why)
		return
	}
	bodies, ok := it.bodies()
	if !ok {
		d.doubt(it.pos, d.key(bl.name), "must be a block", fmt.Sprintf("write %s { … }", bl.name))
		return
	}
	for i, b := range bodies {
		if i > 0 && !bl.many {
			d.doubt(b.pos, d.key(bl.name), "given twice", "")
			return
		}
		s := d.open(bl)
		if it.json && s.label != nil && isLabelled(b, s) {
			d.labelledBlocks(b, bl)
			continue
		}
		d.oneBlock(it, bl, b, it.labels, s)
	}
}

// open keeps the stanzas that can be used again: there may be thousands of such blocks.
func (d *decoder) open(bl block) stanza {
	name := d.key(bl.name)
	s, ok := d.opened[name]
	if !ok {
		if s = bl.open(); s.again == nil {
			return s
		}
		d.opened[name] = s
	}
	s.again()
	return s
}

// isLabelled reports whether a JSON object's members are labels, not keys.
func isLabelled(b body, s stanza) bool {
	for _, it := range b.items {
		_, isKey := s.findKey(it.name)
		_, isBlock := s.findBlock(it.name)
		_, isObject := it.bodies()
		if isKey || isBlock || !isObject || strings.EqualFold(it.name, s.label.name) {
			return false
		}
	}
	return len(b.items) > 0
}

func (d *decoder) labelledBlocks(b body, bl block) {
	for i, member := range b.items {
		inner, _ := member.bodies()
		for j, one := range inner {
			if i+j > 0 && !bl.many {
				d.doubt(one.pos, d.key(bl.name), "given twice", "")
				return
			}
			d.oneBlock(member, bl, one, []string{member.name}, d.open(bl))
		}
	}
}

func (d *decoder) oneBlock(it item, bl block, b body, labels []string, s stanza) {
	d.path = append(d.path, bl.name)
	defer func() { d.path = d.path[:len(d.path)-1] }()
	kept := s.mild && len(b.items) == 0 || d.over && d.stood[d.here()]
	if s.reset != nil && !kept {
		s.reset()
		d.forget(s)
	}
	d.stood[d.here()] = true
	if len(d.path) == 1 {
		d.blocks[bl.name] = b.pos
	}
	switch {
	case s.label == nil && len(labels) > 0:
		d.doubt(it.pos, d.here(), fmt.Sprintf("takes no label %q", labels[0]), "")
	case s.label != nil && len(labels) > 1:
		d.doubt(it.pos, d.here(), fmt.Sprintf("takes one label, not %d", len(labels)), "")
		fallthrough
	case s.label != nil && len(labels) == 1:
		d.setLabel(it.pos, s.label, labels[0])
	}
	d.body(b, s)
}

// forget drops the origins of a stanza that starts anew.
func (d *decoder) forget(s stanza) {
	maps.DeleteFunc(d.stood, func(name string, _ bool) bool { return strings.HasPrefix(name, d.here()+".") })
	for _, k := range s.keys {
		delete(d.origins, k.to)
	}
	for _, b := range s.blocks {
		if !b.many && b.why == "" {
			d.forget(b.open())
		}
	}
}
