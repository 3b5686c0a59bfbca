package envtemplate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template/parse"

	"github.com/envexec/envexec/secret"
)

// source is a template's text, read once: what it calls, what it always reads, and
// the text the engine gets, in which every printing action ends in printFunc.
type source struct {
	name        string // in messages
	left, right string
	text        string          // rewritten
	calls       map[string]int  // function name → line of its first use
	fields      map[string]bool // names of all fields it looks at
	requests    []secret.Request
	writes      []secret.Key // with literal arguments, wherever they stand
	outputs     []string     // literal paths of writeToFile
	spans       []span
	prints      []string // the printing actions as they are written, by number
	plain       *plain   // nil if it is more than one field of one secret
}

// span is the part of the text in which one literal secret is the dot.
type span struct {
	from, to int
	req      secret.Request
}

// printFunc stands behind every printing action: it keeps "<no value>" out.
const printFunc = "envexec_print"

// newSource parses text. Delimiters may be empty.
func newSource(name, text, left, right string) (*source, error) {
	s := &source{name: name, left: left, right: right, calls: map[string]int{}, fields: map[string]bool{}}
	if left == "" {
		s.left = "{{"
	}
	if right == "" {
		s.right = "}}"
	}
	trees, err := s.parse(text)
	if err != nil {
		return nil, err
	}
	s.text = s.rewrite(text, trees)
	again, err := s.parse(s.text)
	if err != nil {
		return nil, fmt.Errorf("%s: actions cannot be told apart: %w", name, err)
	}
	for _, t := range again {
		s.walk(t.Root, true)
	}
	s.plain = plainOf(trees, s.requests)
	return s, nil
}

func (s *source) parse(text string) ([]*parse.Tree, error) {
	t := parse.New(s.name)
	t.Mode = parse.SkipFuncCheck
	set := map[string]*parse.Tree{}
	if _, err := t.Parse(text, s.left, s.right, set); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	if set[s.name] == nil { // the main tree is left out when it is empty
		set[s.name] = t
	}
	trees := []*parse.Tree{set[s.name]}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if name != s.name {
			trees = append(trees, set[name])
		}
	}
	return trees, nil
}

// rewrite puts printFunc and the action's number behind every printing action.
func (s *source) rewrite(text string, trees []*parse.Tree) string {
	var at []int
	for _, t := range trees {
		visit(t.Root, func(n parse.Node) {
			if id, ok := n.(*parse.IdentifierNode); ok && s.calls[id.Ident] == 0 {
				s.calls[id.Ident] = 1 + strings.Count(text[:min(int(id.Pos), len(text))], "\n")
			}
			for _, field := range fieldsOf(n) {
				s.fields[field] = true
			}
			if p, ok := n.(*parse.PipeNode); ok {
				s.note(p)
			}
			if a, ok := n.(*parse.ActionNode); ok && len(a.Pipe.Decl) == 0 {
				at = append(at, int(a.Pos))
			}
		})
	}
	slices.Sort(at)
	var b strings.Builder
	done := 0
	for _, pos := range at {
		end := s.actionEnd(text, pos)
		if end < 0 || pos < done {
			continue
		}
		b.WriteString(text[done:end])
		fmt.Fprintf(&b, " | %s %d", printFunc, len(s.prints))
		s.prints = append(s.prints, strings.TrimSpace(text[pos:end]))
		done = end
	}
	b.WriteString(text[done:])
	return b.String()
}

// note keeps what p spells out of writes and of files.
func (s *source) note(p *parse.PipeNode) {
	for _, cmd := range p.Cmds {
		id, ok := cmd.Args[0].(*parse.IdentifierNode)
		if !ok {
			continue
		}
		var args []string
		for _, arg := range cmd.Args[1:] {
			text, ok := arg.(*parse.StringNode)
			if !ok {
				break
			}
			args = append(args, text.Text)
		}
		switch {
		case id.Ident == "writeToFile" && len(args) > 0:
			s.outputs = append(s.outputs, args[0])
		case (id.Ident == "secret" || id.Ident == "pkiCert") && len(args) > 1 && len(args) == len(cmd.Args)-1:
			if req, err := writeRequest(args); err == nil {
				s.writes = append(s.writes, req.Key())
			}
		}
	}
}

// actionEnd finds where the action that begins at pos ends: before its right
// delimiter and trim marker.
func (s *source) actionEnd(text string, pos int) int {
	for i := pos; i < len(text); i++ {
		if strings.HasPrefix(text[i:], s.right) {
			return len(strings.TrimRight(strings.TrimSuffix(text[:i], " -"), " \t\r\n"))
		}
		switch text[i] {
		case '"', '\'':
			quote := text[i]
			for i++; i < len(text) && text[i] != quote; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '`':
			for i++; i < len(text) && text[i] != '`'; i++ {
			}
		}
	}
	return -1
}

// walk collects the literal reads that always happen (top: nothing decides whether n
// is reached) and the spans in which a secret is the dot.
func (s *source) walk(n parse.Node, top bool) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return
		}
		for _, c := range n.Nodes {
			s.walk(c, top)
		}
	case *parse.ActionNode:
		s.literals(n.Pipe, top)
	case *parse.IfNode:
		s.branch(&n.BranchNode, top)
	case *parse.RangeNode:
		s.branch(&n.BranchNode, top)
	case *parse.WithNode:
		s.branch(&n.BranchNode, top)
	}
}

func (s *source) branch(n *parse.BranchNode, top bool) {
	s.literals(n.Pipe, top)
	s.walk(n.List, false)
	s.walk(n.ElseList, false)
	if n.NodeType == parse.NodeIf || len(n.Pipe.Cmds) != 1 {
		return
	}
	for _, req := range literalReads(n.Pipe) {
		from, to := int(n.Pipe.Pos), int(n.Pipe.Pos)
		visit(n.List, func(c parse.Node) { to = max(to, int(c.Position())) })
		s.spans = append(s.spans, span{from, to, req})
	}
}

func (s *source) literals(p *parse.PipeNode, top bool) {
	if !top {
		return
	}
	for _, req := range literalReads(p) {
		if !slices.ContainsFunc(s.requests, func(r secret.Request) bool { return r.Key() == req.Key() }) {
			s.requests = append(s.requests, req)
		}
	}
}

// literalReads finds the reads with literal arguments in p that happen whenever p is
// evaluated. Writes are none of them.
func literalReads(p *parse.PipeNode) []secret.Request {
	var reqs []secret.Request
	for i, cmd := range p.Cmds {
		id, isCall := cmd.Args[0].(*parse.IdentifierNode)
		if isCall && (id.Ident == "and" || id.Ident == "or") {
			continue // the arguments may never be looked at
		}
		if isCall && i == 0 && len(cmd.Args) == 2 && (id.Ident == "secret" || id.Ident == "secrets") {
			if path, ok := cmd.Args[1].(*parse.StringNode); ok {
				if req, err := templateRequest(path.Text); err == nil {
					if id.Ident == "secrets" {
						req.Op = secret.List
					}
					reqs = append(reqs, req)
				}
			}
		}
		for _, arg := range cmd.Args {
			if chain, ok := arg.(*parse.ChainNode); ok {
				arg = chain.Node
			}
			if sub, ok := arg.(*parse.PipeNode); ok {
				reqs = append(reqs, literalReads(sub)...)
			}
		}
	}
	return reqs
}

// secretAt is the literal secret that is the dot at pos of the rewritten text: the innermost.
func (s *source) secretAt(pos int) (secret.Request, bool) {
	var best *span
	for i, sp := range s.spans {
		if sp.from <= pos && pos <= sp.to && (best == nil || sp.from > best.from) {
			best = &s.spans[i]
		}
	}
	if best == nil {
		return secret.Request{}, false
	}
	return best.req, true
}

func fieldsOf(n parse.Node) []string {
	switch n := n.(type) {
	case *parse.FieldNode:
		return n.Ident
	case *parse.ChainNode:
		return n.Field
	case *parse.VariableNode:
		return n.Ident
	}
	return nil
}

// visit calls f for n and every node below it.
func visit(n parse.Node, f func(parse.Node)) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return
		}
		for _, c := range n.Nodes {
			visit(c, f)
		}
		return
	case *parse.IfNode:
		visitBranch(&n.BranchNode, f)
	case *parse.RangeNode:
		visitBranch(&n.BranchNode, f)
	case *parse.WithNode:
		visitBranch(&n.BranchNode, f)
	case *parse.ActionNode:
		visit(n.Pipe, f)
	case *parse.TemplateNode:
		visit(n.Pipe, f)
	case *parse.PipeNode:
		if n == nil {
			return
		}
		for _, c := range n.Cmds {
			for _, arg := range c.Args {
				visit(arg, f)
			}
		}
	case *parse.ChainNode:
		visit(n.Node, f)
	}
	f(n)
}

func visitBranch(n *parse.BranchNode, f func(parse.Node)) {
	visit(n.Pipe, f)
	visit(n.List, f)
	visit(n.ElseList, f)
}
