package main

import "slices"

// leave gives up a vault side once the program no longer depends on it.
func (c *conductor) leave(old *vaultSide) {
	c.mu.Lock()
	c.leaving = append(c.leaving, departure{old, c.last.ID + 1})
	c.mu.Unlock()
}

// departure is a vault side that ends once generation is safely up.
type departure struct {
	vault      *vaultSide
	generation uint64
}

// settle says that a generation's program is safely up.
func (j *job) settle(id uint64) {
	j.side().settle(id)
	j.depart(func(d departure) bool { return id >= d.generation })
}

// depart ends the vault sides that nobody needs any more.
func (j *job) depart(over func(departure) bool) {
	j.mu.Lock()
	var done []departure
	j.leaving = slices.DeleteFunc(j.leaving, func(d departure) bool {
		if over(d) {
			done = append(done, d)
			return true
		}
		return false
	})
	j.mu.Unlock()
	for _, d := range done {
		j.departing.Go(d.vault.close) // its clients may take their time
	}
}

// side is the present vault side.
func (j *job) side() *vaultSide {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.vault
}
