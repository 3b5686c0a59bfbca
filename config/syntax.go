package config

import (
	"bytes"
	"fmt"
	"unicode"

	"github.com/hashicorp/hcl/hcl/ast"
	hclparser "github.com/hashicorp/hcl/hcl/parser"
	"github.com/hashicorp/hcl/hcl/scanner"
	"github.com/hashicorp/hcl/hcl/token"
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
func (r *report) parseFile(file string, src []byte) (body, error) {
	list, err := r.parseList(file, src)
	if err != nil {
		return body{}, err
	}
	return makeBody(Position{File: file, Line: 1, Column: 1}, list), nil
}

func (r *report) parseList(file string, src []byte) (list *ast.ObjectList, err error) {
	if len(src) > maxFileSize {
		return nil, Problem{Pos: Position{File: file}, Message: fmt.Sprintf("larger than %d MiB", maxFileSize>>20)}
	}
	src = bytes.TrimPrefix(src, []byte("\xef\xbb\xbf")) // Windows editors write it
	if bytes.HasPrefix(bytes.TrimLeftFunc(src, unicode.IsSpace), []byte("{")) {
		list, lost, err := readJSON(file, src)
		if err != nil {
			return nil, syntaxProblem(file, src, err)
		}
		if lost != nil {
			r.doubtProblem(*lost)
		}
		return list, nil
	}
	return readHCL(file, src)
}

func readHCL(file string, src []byte) (list *ast.ObjectList, err error) {
	// The scanner and parser of this dialect panic on some malformed literals.
	defer func() {
		if r := recover(); r != nil {
			err = Problem{Pos: Position{File: file}, Message: fmt.Sprintf("malformed: %v", r)}
		}
	}()
	if pos, deep := tooDeep(file, src); deep {
		return nil, tooDeepAt(pos, maxDepth)
	}
	tree, err := hclparser.ParseDontErrorOnDuplicateKeys(src)
	if err != nil {
		return nil, syntaxProblem(file, src, err)
	}
	list, ok := tree.Node.(*ast.ObjectList)
	if !ok {
		return nil, Problem{Pos: Position{File: file}, Message: "the top level is not a list of keys"}
	}
	return list, nil
}

func tooDeepAt(pos Position, levels int) error {
	return Problem{Pos: pos, Message: fmt.Sprintf("nested deeper than %d levels", levels)}
}

// tooDeep keeps a hostile file from exhausting the stack of the recursive parser.
func tooDeep(file string, src []byte) (Position, bool) {
	if bytes.Count(src, []byte("{"))+bytes.Count(src, []byte("[")) <= manyBrackets {
		return Position{}, false
	}
	depth := 0
	sc := scanner.New(src)
	sc.Error = func(token.Pos, string) {}
	for t := sc.Scan(); t.Type != token.EOF && t.Type != token.ILLEGAL; t = sc.Scan() {
		switch t.Type {
		case token.LBRACE, token.LBRACK:
			depth++
		case token.RBRACE, token.RBRACK:
			depth--
		}
		if depth > maxDepth {
			return position(file, t.Pos), true
		}
	}
	return Position{}, false
}

func position(file string, p token.Pos) Position {
	if !p.IsValid() {
		return Position{File: file}
	}
	return Position{File: file, Line: p.Line, Column: p.Column}
}

func makeBody(pos Position, list *ast.ObjectList) body {
	b := body{pos: pos, items: make([]item, 0, len(list.Items))}
	for _, it := range list.Items {
		if len(it.Keys) == 0 {
			continue
		}
		n := item{
			name: keyText(it.Keys[0]), pos: position(pos.File, it.Keys[0].Pos()), assign: it.Assign.IsValid(),
			val: it.Val, json: it.Keys[0].Token.JSON,
		}
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

// bodies returns the blocks an item stands for: its object, or each of a list of objects.
func (it item) bodies() ([]body, bool) {
	switch v := it.val.(type) {
	case *ast.ObjectType:
		return []body{makeBody(it.pos, v.List)}, true
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
			all = append(all, makeBody(pos, o.List))
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
