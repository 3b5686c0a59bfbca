// Package systemd speaks to a service manager: sd_notify in both directions and
// sockets passed at start. What it gets from the environment it is handed by its
// caller. Where there is no systemd every function answers "not here".
package systemd
