package systemd

// Notifier does nothing here.
type Notifier struct{}

// NewNotifier returns a Notifier that sends nothing.
func NewNotifier(string) Notifier { return Notifier{} }

// Enabled reports false.
func (Notifier) Enabled() bool { return false }

// Send does nothing.
func (Notifier) Send([]int, ...string) error { return nil }
