package config

import (
	"fmt"
	"slices"
	"strings"
)

// hint names the nearest key here, else the stanza a misplaced key belongs to.
func (d *decoder) hint(name string, s stanza) string {
	if h := didYouMean(name, s.names()); h != "" {
		return h
	}
	if at := d.whereIs(name); at != "" {
		return fmt.Sprintf("it belongs in %s", at)
	}
	return known(s.names())
}

// known lists the valid names, when the list is short enough to be read.
func known(names []string) string {
	if len(names) > 12 {
		return ""
	}
	return "known here: " + strings.Join(names, ", ")
}

// whereIs returns the dotted name of the stanza that knows name, "" if none or several do.
func (d *decoder) whereIs(name string) string {
	var found []string
	var walk func(path string, s stanza)
	walk = func(path string, s stanza) {
		if _, ok := s.findKey(name); ok && path != "" {
			found = append(found, path)
		}
		if _, ok := s.findBlock(name); ok && path != "" {
			found = append(found, path)
		}
		for _, b := range s.blocks {
			if b.why == "" {
				walk(strings.TrimPrefix(path+"."+b.name, "."), b.open())
			}
		}
	}
	walk("", d.top)
	for _, keys := range methodKeys() {
		if slices.ContainsFunc(keys, func(k methodKey) bool { return k.name == name && len(name) > 8 }) {
			return "auto_auth.method.config"
		}
	}
	if len(found) == 1 {
		return found[0]
	}
	return ""
}

func choose(text string, allow []string) string {
	if h := didYouMean(text, allow); h != "" {
		return h
	}
	return "use " + strings.Join(allow, ", ")
}
