package method

import "errors"

// inherited fails: Windows has no numbered descriptors to hand over.
func inherited(int) error { return errors.New("descriptors cannot be handed over on Windows") }
