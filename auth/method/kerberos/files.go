package kerberos

import (
	"errors"
	"strings"

	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/keytab"

	"github.com/envexec/envexec/auth/method"
)

// readKeytab reads the keys of path. The library's errors quote the file, keys and
// all, so none of them is shown.
func readKeytab(path string) (*keytab.Keytab, error) {
	b, err := method.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseKeytab(b)
}

func parseKeytab(b []byte) (*keytab.Keytab, error) {
	kt := keytab.New()
	err := guard(func() error { return kt.Unmarshal(b) })
	switch {
	case err != nil:
		return nil, errors.New("it is no keytab, or cut short")
	case len(kt.Entries) == 0:
		return nil, errors.New("it holds no key")
	}
	return kt, nil
}

// readConfig reads the krb5.conf at path.
func readConfig(path string) (*config.Config, error) {
	b, err := method.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseConfig(string(b))
}

func parseConfig(text string) (conf *config.Config, err error) {
	err = guard(func() (err error) {
		conf, err = config.NewFromString(flat(text))
		return err
	})
	var old config.UnsupportedDirective // of Kerberos 4: left out, the rest is good
	if err != nil && !errors.As(err, &old) {
		return nil, err
	}
	return conf, nil
}

// flat leaves out the blocks inside a realm's block, such as auth_to_local_names, which
// the library does not know and ends the process over.
func flat(text string) string {
	var out strings.Builder
	depth := 0
	for line := range strings.Lines(text) {
		code, _, _ := strings.Cut(line, "#")
		if strings.HasPrefix(strings.TrimSpace(line), "[") {
			depth = 0
		}
		before := depth
		depth = max(0, depth+strings.Count(code, "{")-strings.Count(code, "}"))
		if before > 1 || depth > 1 {
			continue
		}
		out.WriteString(line)
	}
	return out.String()
}

// guard turns a panic of the library into an error. Its text may hold a key.
func guard(call func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the kerberos library does not understand it")
		}
	}()
	return call()
}
