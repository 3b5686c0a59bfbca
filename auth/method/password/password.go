// Package password logs in with a user's name and password: the methods ldap and
// userpass, which differ in their mount only. The password comes from a file,
// read anew at each login, or directly.
package password

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/secret"
)

// Config says who logs in and where the password comes from.
type Config struct {
	MountPath    string // required: "auth/ldap", "auth/userpass"
	Username     string // this or UsernameFile is required
	UsernameFile string // username_file_path

	PasswordFile string      // password_file_path; this or Password is required
	Password     secret.Text // the password itself
	// KeepPasswordFile is the opposite of remove_password_after_reading: by default the file is removed.
	KeepPasswordFile bool
	// FollowSymlinks removes a symlink's target instead of the link (remove_password_follows_symlinks).
	FollowSymlinks bool
	// ReadPeriod is password_read_period, how often the file is looked at besides file
	// events; default 500 ms when it is removed, else 1 min.
	ReadPeriod time.Duration

	Logger *slog.Logger // default: none
}

// FromMap reads the config block of a Vault Agent file (ldap). Besides its keys,
// password gives the password itself.
func FromMap(m map[string]any) (Config, error) {
	o := method.NewOptions(m)
	c := Config{
		Username:         o.String("username", ""),
		UsernameFile:     o.String("username_file_path", ""),
		PasswordFile:     o.String("password_file_path", ""),
		Password:         o.Text("password"),
		KeepPasswordFile: !o.Bool("remove_password_after_reading", true),
		FollowSymlinks:   o.Bool("remove_password_follows_symlinks", false),
		ReadPeriod:       o.Duration("password_read_period", 0),
	}
	o.OneOf("username", "username_file_path")
	if o.Has("username") {
		o.Require("username", c.Username)
	}
	o.OneOf("password_file_path", "password")
	return c, o.Err()
}

// New checks c.
func New(c Config) (*Method, error) {
	switch {
	case c.MountPath == "":
		return nil, errors.New("password: a mount path is required")
	case (c.Username == "") == (c.UsernameFile == ""):
		return nil, errors.New("password: either a user name or its file is required")
	case (c.PasswordFile == "") == c.Password.Empty():
		return nil, errors.New("password: either a password or its file is required")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.ReadPeriod <= 0 {
		c.ReadPeriod = method.ReadPeriod(!c.KeepPasswordFile)
	}
	return &Method{cfg: c, user: method.File{Path: c.UsernameFile, What: "user name"}, file: method.File{
		Path: c.PasswordFile, What: "password", Verbatim: true, Remove: !c.KeepPasswordFile, FollowSymlinks: c.FollowSymlinks,
	}}, nil
}

// Method is an api.AuthMethod and a method.Credentials.
type Method struct {
	cfg        Config
	user, file method.File
}

// Login implements api.AuthMethod.
func (m *Method) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	password := m.cfg.Password.Reveal()
	if m.cfg.PasswordFile != "" {
		var err error
		if password, err = m.file.Read(); err != nil {
			return nil, err
		}
	}
	user := m.cfg.Username
	if m.cfg.UsernameFile != "" {
		var err error
		if user, err = m.user.Read(); err != nil {
			return nil, err
		}
	}
	s, err := method.Login(ctx, client, m.cfg.MountPath+"/login/"+user, map[string]any{"password": password})
	if removal := m.file.Spent(err); removal != nil {
		m.cfg.Logger.Warn("password file stays readable", "error", removal)
	}
	return s, err
}

// Consumes implements method.Consumer.
func (m *Method) Consumes() bool { return m.cfg.PasswordFile != "" && !m.cfg.KeepPasswordFile }

// Fingerprint implements method.Credentials.
func (m *Method) Fingerprint(context.Context) (string, error) {
	user, password := m.cfg.Username, m.cfg.Password.Reveal()
	if m.cfg.UsernameFile != "" {
		user = m.user.Peek()
	}
	if m.cfg.PasswordFile != "" {
		password = m.file.Peek()
	}
	if user == "" || password == "" {
		return "", nil
	}
	return method.Fingerprint(user, password), nil
}

// Watch implements method.Credentials.
func (m *Method) Watch() (files []string, interval time.Duration) {
	for _, f := range []string{m.cfg.UsernameFile, m.cfg.PasswordFile} {
		if f != "" {
			files = append(files, f)
		}
	}
	return files, m.cfg.ReadPeriod
}
