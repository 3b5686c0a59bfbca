package supervise

const (
	hasNotify     = true
	hasMainThread = true
)

func isAlive(pid int) bool {
	st, ok := readStat(pid)
	return ok && !st.zombie
}
