package config

import (
	"errors"
	"fmt"
	"unicode"

	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/token"
	jsonscanner "github.com/hashicorp/hcl/json/scanner"
	jsontoken "github.com/hashicorp/hcl/json/token"
)

// jsonReader reads JSON into the tree HCL has. The library's own parser knows no places,
// and takes quadratic time where objects hold objects. Like it this one is loose, for
// Vault is: of what is left open or follows no comma the rest is passed over. It says so.
type jsonReader struct {
	file  string
	src   []byte
	sc    *jsonscanner.Scanner
	tok   jsontoken.Token
	depth int
	bad   error    // what the scanner stumbled over first
	lost  *Problem // where Vault begins to pass over things
}

// errNoMore: the file ends. errClosed: a brace where a key may stand.
var errNoMore, errClosed = errors.New("the file ends"), errors.New("closed")

func readJSON(file string, src []byte) (list *ast.ObjectList, lost *Problem, err error) {
	r := &jsonReader{file: file, src: src, sc: jsonscanner.New(src)}
	r.sc.Error = func(pos jsontoken.Pos, msg string) {
		if r.bad == nil {
			r.bad = Problem{Pos: r.place(pos), Message: "syntax error: " + msg}
		}
	}
	if r.scan(); r.tok.Type != jsontoken.LBRACE {
		return nil, nil, r.unexpected("{")
	}
	top, err := r.object()
	if r.bad != nil {
		return nil, nil, r.bad
	}
	if err != nil {
		return nil, nil, err
	}
	if r.scan(); r.tok.Type != jsontoken.EOF {
		r.lose("the end of the file")
	}
	return top.List, r.lost, nil
}

func (r *jsonReader) scan() jsontoken.Type {
	sound := r.bad == nil
	r.tok = r.sc.Scan()
	if sound && r.bad != nil && r.tok.Text != "" && unicode.IsLetter(rune(r.tok.Text[0])) {
		r.bad = Problem{Pos: r.place(r.tok.Pos), Message: "syntax error: not a value", Hint: "text needs double quotes"}
	}
	return r.tok.Type
}

func (r *jsonReader) place(p jsontoken.Pos) Position {
	return Position{File: r.file, Line: p.Line, Column: p.Column}
}

// unexpected never shows a value: it may be a secret.
func (r *jsonReader) unexpected(want string) error {
	got, at := r.tok.Text, r.place(r.tok.Pos)
	switch {
	case r.tok.Type == jsontoken.EOF:
		got, at = "the end of the file", placeOf(r.file, r.src, len(r.src))
	case r.tok.Type.IsLiteral():
		got = "a value"
	}
	return Problem{Pos: at, Message: fmt.Sprintf("syntax error: expected %s, found %s", want, got)}
}

func (r *jsonReader) lose(want string) {
	if r.lost != nil {
		return
	}
	var p Problem
	errors.As(r.unexpected(want), &p)
	p.Hint = "Vault passes over the rest in silence"
	r.lost = &p
}

func (r *jsonReader) deeper() error {
	if r.depth++; r.depth > manyBrackets {
		return tooDeepAt(r.place(r.tok.Pos), manyBrackets)
	}
	return nil
}

// object reads what follows a brace.
func (r *jsonReader) object() (*ast.ObjectType, error) {
	if err := r.deeper(); err != nil {
		return nil, err
	}
	defer func() { r.depth-- }()
	o := &ast.ObjectType{Lbrace: r.here(), List: &ast.ObjectList{}}
	for {
		item, err := r.item()
		switch {
		case errors.Is(err, errClosed):
			return o, nil
		case errors.Is(err, errNoMore):
			r.lose("}")
			return o, nil
		case err != nil && r.tok.Type == jsontoken.RBRACE:
			r.lose("a value")
			return o, nil
		case err != nil:
			return nil, err
		}
		o.List.Add(item)
		switch r.scan() {
		case jsontoken.COMMA:
		case jsontoken.RBRACE:
			return o, nil
		default:
			r.lose(", or }")
			return o, nil
		}
	}
}

func (r *jsonReader) item() (*ast.ObjectItem, error) {
	item := &ast.ObjectItem{}
	for {
		switch r.scan() {
		case jsontoken.STRING:
			item.Keys = append(item.Keys, &ast.ObjectKey{Token: r.literal()})
			continue
		case jsontoken.EOF:
			return nil, errNoMore
		case jsontoken.COLON:
		case jsontoken.RBRACE:
			if len(item.Keys) == 0 {
				return nil, errClosed
			}
			return nil, r.unexpected(":")
		default:
			return nil, r.unexpected("a key in double quotes")
		}
		if len(item.Keys) == 0 {
			return nil, r.unexpected("a key in double quotes")
		}
		item.Assign = r.here()
		var err error
		item.Val, err = r.value()
		return item, err
	}
}

func (r *jsonReader) value() (ast.Node, error) {
	switch r.scan() {
	case jsontoken.LBRACE:
		return r.object()
	case jsontoken.LBRACK:
		return r.list()
	case jsontoken.EOF:
		return nil, errNoMore
	}
	if r.tok.Type.IsLiteral() {
		return &ast.LiteralType{Token: r.literal()}, nil
	}
	return nil, r.unexpected("a value")
}

// list reads what follows a bracket. Booleans and lists inside are passed over.
func (r *jsonReader) list() (*ast.ListType, error) {
	l := &ast.ListType{Lbrack: r.here()}
	for {
		switch r.scan() {
		case jsontoken.NUMBER, jsontoken.FLOAT, jsontoken.STRING:
			l.Add(&ast.LiteralType{Token: r.literal()})
		case jsontoken.LBRACE:
			o, err := r.object()
			if err != nil {
				return nil, err
			}
			l.Add(o)
		case jsontoken.COMMA:
		case jsontoken.BOOL, jsontoken.LBRACK:
			r.lose("text, numbers or objects in a list")
		case jsontoken.RBRACK:
			return l, nil
		default:
			return nil, r.unexpected("a value or ]")
		}
	}
}

func (r *jsonReader) here() token.Pos {
	p := r.tok.Pos
	return token.Pos{Filename: p.Filename, Offset: p.Offset, Line: p.Line, Column: p.Column}
}

func (r *jsonReader) literal() token.Token {
	t := r.tok.HCLToken()
	t.Pos = r.here()
	return t
}
