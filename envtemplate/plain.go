package envtemplate

import (
	"text/template/parse"

	"github.com/envexec/envexec/secret"
)

// plain is a template that only looks one field up in one secret, as
//
//	{{ with secret "path" }}{{ .Data.data.key }}{{ end }}
//
// the form most configurations consist of. Its text is taken from the secret
// itself: the engine costs 0.3 ms for each, most of it for its table of functions.
type plain struct {
	req    secret.Request
	fields []string // below the secret's data
}

// plainOf returns what trees look up, nil if they do anything more.
func plainOf(trees []*parse.Tree, requests []secret.Request) *plain {
	if len(trees) != 1 || len(requests) != 1 || trees[0].Root == nil || len(trees[0].Root.Nodes) != 1 {
		return nil
	}
	with, ok := trees[0].Root.Nodes[0].(*parse.WithNode)
	if !ok || with.ElseList != nil || len(with.Pipe.Decl) > 0 || len(with.Pipe.Cmds) != 1 || len(with.List.Nodes) != 1 {
		return nil
	}
	call := with.Pipe.Cmds[0].Args
	if len(call) != 2 || call[0].String() != "secret" || call[1].Type() != parse.NodeString {
		return nil
	}
	action, ok := with.List.Nodes[0].(*parse.ActionNode)
	if !ok || len(action.Pipe.Decl) > 0 || len(action.Pipe.Cmds) != 1 || len(action.Pipe.Cmds[0].Args) != 1 {
		return nil
	}
	field, ok := action.Pipe.Cmds[0].Args[0].(*parse.FieldNode)
	if !ok || len(field.Ident) < 2 || field.Ident[0] != "Data" {
		return nil
	}
	return &plain{req: requests[0], fields: field.Ident[1:]}
}

// text is the field if it is a text. Everything else, errors too, is the engine's
// to print or to explain.
func (p *plain) text(w *templateWork, get getter) (string, bool) {
	req := p.req
	req.Refresh = w.refresh
	s, err := get(req)
	if err != nil {
		return "", false
	}
	var value any = s.Data
	for _, name := range p.fields {
		m, _ := value.(map[string]any)
		value = m[name]
	}
	text, ok := value.(string)
	return text, ok
}
