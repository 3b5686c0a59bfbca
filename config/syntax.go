package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/hashicorp/hcl"
	"github.com/hashicorp/hcl/hcl/ast"
	hclparser "github.com/hashicorp/hcl/hcl/parser"
	"github.com/hashicorp/hcl/hcl/scanner"
	"github.com/hashicorp/hcl/hcl/token"
	jsonscanner "github.com/hashicorp/hcl/json/scanner"
	jsontoken "github.com/hashicorp/hcl/json/token"
)

const (
	maxFileSize = 64 << 20
	maxDepth    = 1000 // the parser recurses; no configuration nests like that
	// manyBrackets is where counting the depth begins: fewer cannot exhaust the stack.
	manyBrackets = 100_000
)

// body is the inside of a block: what stands in it, in order.
type body struct {
	pos   Position
	items []item
}

// item is one key with its value, or one block.
type item struct {
	name   string
	pos    Position
	labels []string
	assign bool // written with =
	val    ast.Node
	json   bool
}

// parseFile reads HCL or JSON into the body of the top level. Duplicate keys are left
// to the decoder, which can say where both stand.
func parseFile(file string, src []byte) (body, error) {
	list, isJSON, err := parseList(file, src)
	if err != nil {
		return body{}, err
	}
	return makeBody(Position{File: file, Line: 1, Column: 1}, list, isJSON), nil
}

func parseList(file string, src []byte) (list *ast.ObjectList, isJSON bool, err error) {
	if len(src) > maxFileSize {
		return nil, false, Problem{Pos: Position{File: file}, Message: fmt.Sprintf("larger than %d MiB", maxFileSize>>20)}
	}
	// The scanner and parser of this dialect panic on some malformed literals.
	defer func() {
		if r := recover(); r != nil {
			err = Problem{Pos: Position{File: file}, Message: fmt.Sprintf("malformed: %v", r)}
		}
	}()
	isJSON = strings.HasPrefix(strings.TrimLeftFunc(string(src), unicode.IsSpace), "{")
	if pos, deep := tooDeep(file, src, isJSON); deep {
		return nil, isJSON, Problem{Pos: pos, Message: fmt.Sprintf("nested deeper than %d levels", maxDepth)}
	}
	var tree *ast.File
	if isJSON {
		tree, err = hcl.ParseBytes(src)
	} else {
		tree, err = hclparser.ParseDontErrorOnDuplicateKeys(src)
	}
	if err != nil {
		return nil, isJSON, syntaxProblem(file, src, isJSON, err)
	}
	list, ok := tree.Node.(*ast.ObjectList)
	if !ok {
		return nil, isJSON, Problem{Pos: Position{File: file}, Message: "the top level is not a list of keys"}
	}
	return list, isJSON, nil
}

// tooDeep keeps a hostile file from exhausting the stack of the recursive parser.
func tooDeep(file string, src []byte, isJSON bool) (Position, bool) {
	if bytes.Count(src, []byte("{"))+bytes.Count(src, []byte("[")) <= manyBrackets {
		return Position{}, false
	}
	depth := 0
	step := func(open, shut bool, line, column int) (Position, bool) {
		if open {
			depth++
		} else if shut {
			depth--
		}
		return Position{File: file, Line: line, Column: column}, depth > maxDepth
	}
	if isJSON {
		sc := jsonscanner.New(src)
		for t := sc.Scan(); t.Type != jsontoken.EOF && t.Type != jsontoken.ILLEGAL; t = sc.Scan() {
			if pos, deep := step(t.Type == jsontoken.LBRACE || t.Type == jsontoken.LBRACK,
				t.Type == jsontoken.RBRACE || t.Type == jsontoken.RBRACK, t.Pos.Line, t.Pos.Column); deep {
				return pos, true
			}
		}
		return Position{}, false
	}
	sc := scanner.New(src)
	sc.Error = func(token.Pos, string) {}
	for t := sc.Scan(); t.Type != token.EOF && t.Type != token.ILLEGAL; t = sc.Scan() {
		if pos, deep := step(t.Type == token.LBRACE || t.Type == token.LBRACK,
			t.Type == token.RBRACE || t.Type == token.RBRACK, t.Pos.Line, t.Pos.Column); deep {
			return pos, true
		}
	}
	return Position{}, false
}

// syntaxProblem finds the place of a parser's error, which it keeps in three ways.
func syntaxProblem(file string, src []byte, isJSON bool, err error) Problem {
	p := Problem{Pos: Position{File: file}, Message: "syntax error: " + err.Error()}
	var at *hclparser.PosError
	if errors.As(err, &at) {
		p.Pos.Line, p.Pos.Column = at.Pos.Line, at.Pos.Column
		p.Message = "syntax error: " + at.Err.Error()
		return p
	}
	if isJSON {
		var any json.RawMessage
		var syn *json.SyntaxError
		if jerr := json.Unmarshal(src, &any); errors.As(jerr, &syn) {
			before := string(src[:min(int(syn.Offset), len(src))])
			p.Pos.Line = strings.Count(before, "\n") + 1
			p.Pos.Column = max(len(before)-strings.LastIndexByte(before, '\n')-1, 1)
			p.Message = "syntax error: " + syn.Error()
		}
		return p
	}
	if m := regexp.MustCompile(`(\d+):(\d+)`).FindStringSubmatch(err.Error()); m != nil {
		p.Pos.Line, _ = strconv.Atoi(m[1])
		p.Pos.Column, _ = strconv.Atoi(m[2])
	}
	return p
}

func position(file string, p token.Pos) Position {
	if !p.IsValid() {
		return Position{File: file}
	}
	return Position{File: file, Line: p.Line, Column: p.Column}
}

func makeBody(pos Position, list *ast.ObjectList, isJSON bool) body {
	b := body{pos: pos}
	items := list.Items
	if isJSON {
		items = unflatten(items)
	}
	for _, it := range items {
		if len(it.Keys) == 0 {
			continue
		}
		n := item{name: keyText(it.Keys[0]), pos: position(pos.File, it.Keys[0].Pos()), assign: it.Assign.IsValid(), val: it.Val, json: isJSON}
		for _, k := range it.Keys[1:] {
			n.labels = append(n.labels, keyText(k))
		}
		b.items = append(b.items, n)
	}
	return b
}

func keyText(k *ast.ObjectKey) string {
	s, _ := k.Token.Value().(string)
	return s
}

// unflatten undoes what the JSON parser does to objects whose members are all objects:
// it writes {"a": {"b": {…}, "c": {…}}} as two items with the keys a b and a c, which
// cannot be told from labels any more. The shared first key says what belonged together.
func unflatten(items []*ast.ObjectItem) []*ast.ObjectItem {
	var out []*ast.ObjectItem
	groups := map[*ast.ObjectKey]*ast.ObjectList{}
	for _, it := range items {
		if len(it.Keys) < 2 {
			out = append(out, it)
			continue
		}
		rest := &ast.ObjectItem{Keys: it.Keys[1:], Assign: it.Assign, Val: it.Val}
		if g := groups[it.Keys[0]]; g != nil {
			g.Add(rest)
			continue
		}
		list := &ast.ObjectList{Items: []*ast.ObjectItem{rest}}
		groups[it.Keys[0]] = list
		out = append(out, &ast.ObjectItem{Keys: it.Keys[:1], Assign: it.Assign, Val: &ast.ObjectType{List: list}})
	}
	return out
}

// bodies returns the blocks an item stands for: its object, or each of a list of objects.
func (it item) bodies() ([]body, bool) {
	switch v := it.val.(type) {
	case *ast.ObjectType:
		return []body{makeBody(it.pos, v.List, it.json)}, true
	case *ast.ListType:
		var all []body
		for _, e := range v.List {
			o, ok := e.(*ast.ObjectType)
			if !ok {
				return nil, false
			}
			pos := it.pos
			if o.Lbrace.IsValid() {
				pos = position(it.pos.File, o.Lbrace)
			}
			all = append(all, makeBody(pos, o.List, it.json))
		}
		return all, len(all) > 0
	}
	return nil, false
}

// scalar is a literal's text and what kind of literal it was.
type scalar struct {
	kind token.Type
	text string
	null bool
}

func (it item) scalar() (scalar, bool) {
	lit, ok := it.val.(*ast.LiteralType)
	if !ok {
		return scalar{}, false
	}
	return literal(lit), true
}

func literal(lit *ast.LiteralType) scalar {
	t := lit.Token
	switch t.Type {
	case token.STRING, token.HEREDOC:
		s, _ := t.Value().(string)
		return scalar{kind: token.STRING, text: s, null: t.JSON && t.Text == ""}
	default:
		return scalar{kind: t.Type, text: t.Text}
	}
}
