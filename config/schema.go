package config

// stanza describes one block: what may stand in it, where the values go, and what
// the reference page says about it. It is made anew for each block that is read,
// around that block's destination, already filled with its defaults.
type stanza struct {
	doc    string
	label  *label
	keys   []key
	blocks []block
	group  string          // a block in which these blocks may stand together
	free   *map[string]any // takes any key, as a method's config does
	reset  func()          // back to the defaults: a later file's block replaces the whole
	again  func()          // makes the destination new: the stanza serves block after block
	mild   bool            // an empty block resets nothing
	done   func(d *decoder, b body)
}

// label is what stands between a block's name and its brace.
type label struct {
	name  string // as a key inside the block: "type"; "" = only as label
	doc   string
	to    *string
	fold  bool // lower-cased
	allow []string
}

// key is one setting of a stanza.
type key struct {
	name    string
	aliases []string
	doc     string
	to      any
	example string // HCL value; "" = the default's text
	def     string // shown default when it is not what to holds
	allow   []string
	weak    bool   // takes true, 1 and "true" alike, as Vault does; of a list: one string with commas
	many    bool   // may be repeated, the last one counts
	ours    bool   // not in Vault
	why     string // has no effect here, and why
	check   func(text string) error
	read    func(d *decoder, it item) // replaces the usual reading into to
}

// block is a stanza inside another one.
type block struct {
	name string
	many bool
	ours bool
	why  string // has no effect here, and why: the inside is not looked at
	open func() stanza
}

func (s stanza) names() []string {
	var names []string
	for _, k := range s.keys {
		names = append(names, k.name)
	}
	for _, b := range s.blocks {
		names = append(names, b.name)
	}
	if s.label != nil && s.label.name != "" {
		names = append(names, s.label.name)
	}
	return names
}
