package environ

// limits: one variable, name and value, has at most 32,767 UTF-16 units.
func limits() limit { return limit{each: 32767} }
