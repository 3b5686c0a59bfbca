package sink

import "os"

// chown has no numeric owners to set on Windows.
func chown(*os.File, int, int) error { return nil }
