package supervise

import (
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf16"

	"golang.org/x/sys/windows"
)

// commandLine returns what CreateProcess is to run: the program with its arguments
// quoted by the rules of the C runtime (CommandLineToArgvW), or cmd.exe for a batch file.
func commandLine(path string, argv []string) (application, line string, err error) {
	if !isBatch(path) {
		return path, windows.ComposeCommandLine(argv), nil
	}
	return batchLine(path, argv[1:])
}

// isBatch: Windows ignores dots and spaces at the end of a name.
func isBatch(path string) bool {
	ext := filepath.Ext(strings.TrimRight(path, ". "))
	return strings.EqualFold(ext, ".bat") || strings.EqualFold(ext, ".cmd")
}

// batchLine runs a batch file by the system's own cmd.exe. That reads its command
// line by other rules than every other program, and no quoting makes all characters
// safe in it: what it would expand or take as the end of an argument is refused.
func batchLine(path string, args []string) (application, line string, err error) {
	system, err := windows.GetSystemDirectory()
	if err != nil {
		return "", "", err
	}
	if strings.ContainsFunc(path, unsafeInBatch) {
		return "", "", fmt.Errorf("the path of a batch file may not contain any of %s", unsafeInWords)
	}
	var b strings.Builder
	// No AutoRun (/d), no !VARIABLE! (/v:off); /s and the outer quotes: what stands between is taken as it is.
	b.WriteString(`cmd.exe /e:on /v:off /d /s /c ""` + path + `"`)
	for i, a := range args {
		if strings.ContainsFunc(a, unsafeInBatch) {
			return "", "", fmt.Errorf("argument %d of a batch file may not contain any of %s: cmd.exe would act on them; "+
				"start the program that the batch file starts", i+1, unsafeInWords)
		}
		b.WriteString(" " + quoteForBatch(a))
	}
	b.WriteString(`"`)
	// Of a longer one cmd.exe does nothing, or leaves the end out.
	if n := len(utf16.Encode([]rune(b.String()))); n > batchLimit {
		return "", "", fmt.Errorf("the command line of a batch file has %d characters, cmd.exe takes %d: "+
			"start the program that the batch file starts", n, batchLimit)
	}
	return filepath.Join(system, "cmd.exe"), b.String(), nil
}

// batchLimit is how many characters cmd.exe takes in a line.
const batchLimit = 8191

const unsafeInWords = `" % ! ^ or control characters`

func unsafeInBatch(r rune) bool { return r < ' ' || r == 0x7f || strings.ContainsRune(`"%!^`, r) }

// quoteForBatch: inside quotes & | < > ( ) and spaces are plain. A backslash before
// the closing quote is doubled for the program that gets the argument from the batch file.
func quoteForBatch(arg string) string {
	plain := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune(`_-+./:\@`, r)
	}
	if arg != "" && !strings.ContainsFunc(arg, func(r rune) bool { return !plain(r) }) {
		return arg
	}
	end := arg[len(strings.TrimRight(arg, `\`)):]
	return `"` + arg + end + `"`
}
