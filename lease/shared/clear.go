package shared

import (
	"errors"
	"fmt"
	"strings"
)

// ClearType says what Clear drops.
type ClearType string

// The types of Clear, Vault's own.
const (
	ClearPath     ClearType = "request_path"   // everything whose path begins with the value
	ClearToken    ClearType = "token"          // a token and what hangs on it
	ClearAccessor ClearType = "token_accessor" // the same by its accessor
	ClearLease    ClearType = "lease"          // one lease
	ClearAll      ClearType = "all"
)

// ErrNoValue says that the type needs a value.
var ErrNoValue = errors.New("this type of cache-clear needs a value")

// Clear drops entries; that nothing matches is no error. namespace concerns ClearPath.
func (c *Cache) Clear(what ClearType, value, namespace string) error {
	switch what {
	case ClearPath, ClearToken, ClearAccessor, ClearLease:
		if value == "" {
			return ErrNoValue
		}
	case ClearAll:
	case "":
		return errors.New("no type of cache-clear")
	default:
		return fmt.Errorf("unknown type of cache-clear %q", string(what))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.marks.revoked.Add(1)
	c.marks.all.Add(1)
	switch what {
	case ClearPath:
		prefix := join(namespace, strings.TrimPrefix(strings.TrimPrefix(value, "/"), "v1/"))
		for _, e := range c.entries {
			if strings.HasPrefix(e.full, prefix) {
				c.finish(e)
			}
		}
	case ClearToken:
		c.drop(c.callers[value])
	case ClearAccessor:
		c.drop(c.accessors[value])
	case ClearLease:
		if e := c.leases[value]; e != nil {
			c.remove(e)
		}
	case ClearAll:
		for _, k := range c.callers {
			k.gone.Store(true)
		}
		c.order.PushBackList(c.aside)
		for e := c.order.Front(); e != nil; e = e.Next() {
			e.Value.(*entry).gone.Store(true)
			c.erase(e.Value.(*entry).name())
		}
		for name := range c.values {
			c.erase(hashed("value-", name))
		}
		c.reset()
	}
	return nil
}

// Forget drops a token Vault says it does not know.
func (c *Cache) Forget(token string) {
	c.mu.RLock()
	known := c.callers[token] != nil
	c.mu.RUnlock()
	if known {
		c.mu.Lock()
		c.drop(c.callers[token])
		c.mu.Unlock()
	}
}

// Holds reports whether leases are kept that die with this token.
func (c *Cache) Holds(token string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	k := c.callers[token]
	if k == nil {
		return false
	}
	for e := range k.entries {
		if e.value == nil {
			return true
		}
	}
	return false
}
