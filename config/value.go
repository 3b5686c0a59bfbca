package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/token"
)

// value reads one key into its destination.
func (d *decoder) value(it item, k key) {
	if k.why != "" {
		d.noEffect(it.pos, d.key(k.name), k.why)
		return
	}
	if len(it.labels) > 0 {
		d.doubt(it.pos, d.key(k.name), "takes no label", fmt.Sprintf("write %s = …", k.name))
		return
	}
	if k.read != nil {
		k.read(d, it)
		d.origins[k.to] = it.pos.String()
		return
	}
	if list, ok := k.to.(*[]string); ok {
		if values, ok := d.strings(it, k); ok {
			*list = values
			d.origins[k.to] = it.pos.String()
		}
		return
	}
	if m, ok := k.to.(*map[string]string); ok {
		d.stringMap(it, k, m)
		return
	}
	text, ok := d.text(it, k)
	if !ok {
		return
	}
	if len(k.allow) > 0 {
		for _, a := range k.allow {
			if strings.EqualFold(a, text) {
				text = a
			}
		}
		if !slices.Contains(k.allow, text) {
			d.doubt(it.pos, d.key(k.name), fmt.Sprintf("%q is not one of %s", text, strings.Join(k.allow, ", ")), didYouMean(text, k.allow))
			return
		}
	}
	before := format(k.to)
	if err := assign(k.to, text); err != nil {
		d.doubt(it.pos, d.key(k.name), err.Error(), "")
		return
	}
	if k.check != nil {
		if err := k.check(text); err != nil {
			d.doubt(it.pos, d.key(k.name), err.Error(), "")
			_ = assign(k.to, before) // was there before
			return
		}
	}
	if span, ok := k.to.(*time.Duration); ok && *span < 0 {
		d.doubt(it.pos, d.key(k.name), "must not be negative", "")
		*span = 0
	}
	d.origins[k.to] = it.pos.String()
}

// text returns a literal's text if its kind fits the destination.
func (d *decoder) text(it item, k key) (string, bool) {
	s, ok := it.scalar()
	if !ok {
		d.doubt(it.pos, d.key(k.name), "must be "+kindOf(k), "")
		return "", false
	}
	if s.null {
		return format(k.to), true
	}
	fits := true
	switch k.to.(type) {
	case *string:
		fits = s.kind == token.STRING || s.kind == token.NUMBER
	case *bool, *Choice:
		fits = s.kind == token.BOOL || k.weak && s.kind != token.FLOAT
	case *int, *int64:
		fits = s.kind == token.NUMBER || s.kind == token.STRING
	case *float64:
		fits = s.kind == token.NUMBER || s.kind == token.FLOAT || s.kind == token.STRING
	case *time.Duration:
		fits = s.kind == token.NUMBER || s.kind == token.STRING || s.kind == token.FLOAT
		if f, err := strconv.ParseFloat(s.text, 64); s.kind == token.FLOAT && err == nil {
			s.text = strconv.FormatFloat(f, 'f', -1, 64) + "s"
		}
	case *uint32:
		fits = s.kind == token.NUMBER || s.kind == token.STRING
		if n, err := strconv.ParseInt(s.text, 0, 64); s.kind == token.NUMBER && err == nil {
			s.text = strconv.FormatInt(n, 8)
		}
	}
	if !fits {
		d.doubt(it.pos, d.key(k.name), fmt.Sprintf("must be %s, not %s", kindOf(k), strings.ToLower(s.kind.String())), "")
	}
	return s.text, fits
}

// kindOf names a key's type for messages and the reference page.
func kindOf(k key) string {
	switch k.to.(type) {
	case *string:
		return "a string"
	case *bool, *Choice:
		return "a boolean"
	case *int:
		return "a whole number"
	case *int64:
		return "a size"
	case *float64:
		return "a number"
	case *time.Duration:
		return "a duration"
	case *uint32:
		return "an octal mode"
	case *[]string:
		return "a list of strings"
	case *map[string]string:
		return "a block of strings"
	}
	return "a value"
}

// strings reads a list; a lone string is a list of one, or, where the key allows
// commas, cut at them.
func (d *decoder) strings(it item, k key) ([]string, bool) {
	if s, ok := it.scalar(); ok {
		if s.kind != token.STRING {
			d.doubt(it.pos, d.key(k.name), "must be "+kindOf(k), "")
			return nil, false
		}
		if k.weak {
			return splitList(s.text), true
		}
		return []string{s.text}, true
	}
	list, ok := it.val.(*ast.ListType)
	if !ok {
		d.doubt(it.pos, d.key(k.name), "must be "+kindOf(k), "")
		return nil, false
	}
	values := []string{}
	for _, e := range list.List {
		lit, ok := e.(*ast.LiteralType)
		if !ok {
			d.doubt(position(it.pos.File, e.Pos()), d.key(k.name), "must hold strings only", "")
			return nil, false
		}
		values = append(values, literal(lit).text)
	}
	for _, v := range values {
		if len(k.allow) > 0 && v != "" && !slices.Contains(k.allow, v) {
			d.doubt(it.pos, d.key(k.name), fmt.Sprintf("%q is not one of %s", v, strings.Join(k.allow, ", ")), didYouMean(v, k.allow))
		}
	}
	return values, true
}

func (d *decoder) stringMap(it item, k key, m *map[string]string) {
	bodies, ok := it.bodies()
	if !ok || len(bodies) != 1 {
		d.doubt(it.pos, d.key(k.name), "must be "+kindOf(k), "")
		return
	}
	*m = map[string]string{}
	seen := map[string]Position{}
	for _, e := range bodies[0].items {
		if !d.once(e, k.name+"."+e.name, seen) {
			continue
		}
		s, ok := e.scalar()
		if !ok {
			d.doubt(e.pos, d.key(k.name+"."+e.name), "must be a string", "")
			continue
		}
		(*m)[e.name] = s.text
	}
	d.origins[k.to] = it.pos.String()
}
