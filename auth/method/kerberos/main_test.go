package kerberos

import (
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/service"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	service.GetReplayCache(time.Hour) // its goroutine, which opening a ticket needs, never ends
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent())
}
