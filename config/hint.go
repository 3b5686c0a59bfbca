package config

import (
	"fmt"
	"slices"
	"strings"
)

// hint says what another tool's key is called here, else names the nearest key here, else
// the stanza a misplaced key belongs to.
func (d *decoder) hint(name string, s stanza) string {
	if h := foreignKeys[strings.ToLower(d.key(name))]; h != "" {
		return h
	}
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
	if d.homes == nil {
		d.homes = homes(d.top)
	}
	if found := d.homes[strings.ToLower(name)]; len(found) == 1 {
		return found[0]
	}
	return ""
}

// homes lists by name, in lower case, the stanzas below top that know it.
func homes(top stanza) map[string][]string {
	found := map[string][]string{}
	add := func(path, name string) {
		name = strings.ToLower(name)
		if path != "" && !slices.Contains(found[name], path) {
			found[name] = append(found[name], path)
		}
	}
	var walk func(path string, s stanza)
	walk = func(path string, s stanza) {
		for _, k := range s.keys {
			for _, name := range append([]string{k.name}, k.aliases...) {
				add(path, name)
			}
		}
		for _, b := range s.blocks {
			add(path, b.name)
			if b.why == "" {
				walk(strings.TrimPrefix(path+"."+b.name, "."), b.open())
			}
		}
	}
	walk("", top)
	for _, keys := range methodKeys() {
		for _, k := range keys {
			if len(k.name) > 8 { // shorter ones are not theirs alone
				found[strings.ToLower(k.name)] = []string{"auto_auth.method.config"}
			}
		}
	}
	return found
}

func choose(text string, allow []string) string {
	if h := didYouMean(text, allow); h != "" {
		return h
	}
	return "use " + strings.Join(allow, ", ")
}
