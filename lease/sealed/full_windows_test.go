package sealed

import "golang.org/x/sys/windows"

// noSpace is what a full disk is told with.
const noSpace = windows.ERROR_DISK_FULL
