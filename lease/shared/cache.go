package shared

import (
	"context"
	"errors"
	"net/http"
)

// Cache is being built.
type Cache struct{}

// Stats counts.
type Stats struct {
	Hits, Misses   uint64
	Entries, Bytes int64
}

// ClearType is what Clear drops.
type ClearType string

// ErrNoValue: Clear needs a value for this type.
var ErrNoValue = errors.New("no value")

// Flight is a request on its way.
type Flight struct{}

// Change is a request that changes something at Vault.
type Change struct{}

// Config configures a Cache.
type Config struct {
	Do func(*http.Request) (*http.Response, error)
}

func New(Config) (*Cache, error)                         { return &Cache{}, nil }
func (*Cache) Run(ctx context.Context) error             { <-ctx.Done(); return nil }
func (*Cache) Clear(t ClearType, value, ns string) error { return nil }
func (*Cache) Stats() Stats                              { return Stats{} }
