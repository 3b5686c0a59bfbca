package supervise

func childMain() bool { return false }
