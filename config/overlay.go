package config

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/token"
)

// assignment is KEY=VALUE with a dotted key; anything else --set gets is a stanza.
var assignment = regexp.MustCompile(`(?s)^([A-Za-z_][\w-]*(?:\.[\w-]+)*)\s*=\s*(.*)$`)

var number = regexp.MustCompile(`^-?\d+(\.\d+)?$`)

// overlay reads what --set or its variable says over what the files say: of a stanza that
// is there already only the named keys change.
func (d *decoder) overlay(c *Config, source string, texts []string) {
	list := &ast.ObjectList{}
	var dotted [][]string
	for _, text := range texts {
		if m := assignment.FindStringSubmatch(strings.TrimSpace(text)); m != nil {
			dotted = append(dotted, m)
			continue
		}
		inner, err := d.parseList(source, []byte(text))
		if err != nil {
			d.failErr(source, err)
			continue
		}
		list.Items = append(list.Items, inner.Items...)
	}
	for _, m := range dotted { // behind the stanzas, into which they may go
		value, err := d.settingValue(source, m[2])
		if err != nil {
			d.failErr(source, err)
			continue
		}
		place(list, strings.Split(m[1], "."), value)
	}
	d.over, d.set, d.top = true, map[string]Position{}, root(c)
	d.body(makeBody(Position{File: source}, withoutPlaces(list)), d.top)
	d.over = false
}

// settingValue is VALUE as HCL has it; what is no list, block, quoted text, number or
// boolean is text as it stands.
func (r *report) settingValue(source, text string) (ast.Node, error) {
	literal := func(kind token.Type, text string) (ast.Node, error) {
		return &ast.LiteralType{Token: token.Token{Type: kind, Text: text, JSON: kind == token.STRING}}, nil
	}
	switch {
	case text == "true", text == "false":
		return literal(token.BOOL, text)
	case number.MatchString(text):
		if strings.Contains(text, ".") {
			return literal(token.FLOAT, text)
		}
		return literal(token.NUMBER, text)
	case text == "" || !strings.ContainsRune(`"[{`, rune(text[0])):
		return literal(token.STRING, strconv.Quote(text))
	}
	list, err := r.parseList(source, []byte("value = "+text))
	if err != nil {
		return nil, err
	}
	if len(list.Items) != 1 {
		return nil, Problem{Pos: Position{File: source}, Message: "one value is wanted, not " + text}
	}
	return list.Items[0].Val, nil
}

// place writes a dotted key into the tree, into the blocks that are there.
func place(list *ast.ObjectList, path []string, value ast.Node) {
	var found *ast.ObjectItem
	for _, it := range list.Items {
		if strings.EqualFold(keyText(it.Keys[0]), path[0]) {
			found = it
		}
	}
	if found == nil {
		found = &ast.ObjectItem{Keys: []*ast.ObjectKey{{Token: token.Token{Type: token.IDENT, Text: path[0]}}}}
		list.Add(found)
	}
	if len(path) == 1 {
		found.Val = value
		return
	}
	inner, ok := found.Val.(*ast.ObjectType)
	if !ok {
		inner = &ast.ObjectType{List: &ast.ObjectList{}}
		found.Val = inner
	}
	place(inner.List, path[1:], value)
}

// withoutPlaces removes the lines and columns, which a flag has not.
func withoutPlaces(list *ast.ObjectList) *ast.ObjectList {
	ast.Walk(list, func(n ast.Node) (ast.Node, bool) {
		switch v := n.(type) {
		case *ast.ObjectKey:
			v.Token.Pos = token.Pos{}
		case *ast.ObjectType:
			v.Lbrace = token.Pos{}
		case *ast.LiteralType:
			v.Token.Pos = token.Pos{}
		}
		return n, true
	})
	return list
}
