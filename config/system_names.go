package config

import (
	"regexp"
	"strings"
)

// names refuses files that Windows would not make, or would make somewhere else.
func (w windowsCheck) names(c *Config) {
	for _, t := range c.Secrets.Templates {
		why := unusableName(t.Destination)
		w.refuse(why != "", t.Pos.String(), "template", t.Destination+": "+why, "")
	}
	for _, f := range c.Secrets.RenderFiles {
		why := unusableName(f.Destination)
		w.refuse(why != "", f.Pos.String(), "file", f.Destination+": "+why, "")
	}
	for _, s := range c.Sinks {
		why := unusableName(s.Path)
		w.refuse(why != "", s.Pos.String(), "sink", s.Path+": "+why, "")
	}
}

var (
	driveOf = regexp.MustCompile(`^([\\/]{2}[?.][\\/])?([A-Za-z]:)?`)
	devices = regexp.MustCompile(`(?i)^(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³]) *([.:].*)?$`)
)

// unusableName says why path cannot be the name of a file; "" = it can.
func unusableName(path string) string {
	drive := driveOf.FindString(path)
	rest := path[len(drive):]
	if strings.HasSuffix(drive, ":") && rest != "" && !strings.ContainsAny(rest[:1], `\/`) {
		return "it is relative to whatever directory was last used on drive " + drive
	}
	for _, part := range strings.FieldsFunc(rest, func(r rune) bool { return r == '\\' || r == '/' }) {
		switch {
		case part == "." || part == "..":
		case devices.MatchString(part):
			return part + " is a device on Windows"
		case strings.ContainsFunc(part, func(r rune) bool { return r < ' ' || strings.ContainsRune(`<>"|?*`, r) }):
			return `a name on Windows may not contain any of < > " | ? * or control characters`
		case strings.Contains(part, ":"):
			return part + " is a stream inside a file, which has that file's rights"
		case strings.HasSuffix(part, ".") || strings.HasSuffix(part, " "):
			return "Windows drops dots and spaces at the end of a name: " + part
		}
	}
	return ""
}
