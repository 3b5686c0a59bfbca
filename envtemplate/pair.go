package envtemplate

import "github.com/envexec/envexec/secret"

// group is all units whose chosen results were made of one secret.
type group struct {
	units []*unit
	of    *read
	mixed bool // they were made of different answers
}

// shared groups units by the secrets whose parts belong together: leased ones and
// those a write made. A mixed group would be, say, a certificate with another's key.
func shared(units []*unit) map[secret.Key]*group {
	groups := map[secret.Key]*group{}
	for _, u := range units {
		if u.chosen == nil {
			continue
		}
		for _, rd := range u.chosen.made {
			if !indivisible(rd) {
				continue
			}
			g := groups[rd.key]
			if g == nil {
				g = &group{of: rd}
				groups[rd.key] = g
			}
			g.units = append(g.units, u)
			g.mixed = g.mixed || g.of != rd
		}
	}
	return groups
}

func indivisible(r *read) bool {
	return r.req.Op == secret.Write || r.sec != nil && r.sec.LeaseID != ""
}
