// Package whole tests the built binary as its users meet it: "controlplane dev" with real Odoo in real containers, reached over
// HTTP through API and edge. One platform serves all tests; each makes clients of its own.
package whole_test

import (
	"fmt"
	"os"
	"testing"

	"controlplane/test/harness"
)

var (
	shared *harness.Platform //nolint:gochecknoglobals // set once by TestMain: starting a platform takes a minute
	names  *nameServer       //nolint:gochecknoglobals // that it asks
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	p, err := harness.New()
	if err == nil {
		defer p.Remove()
		p.Env["DEV_S3_LISTEN"] = p.Store
		if names, err = newNameServer(); err == nil {
			p.Env["DOMAIN_RESOLVERS"], p.Env["EDGE_ADDRESSES"] = names.address, "127.0.0.1"
			err = p.Start()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the platform under test doesn't start:", err)
		if p != nil {
			fmt.Fprintln(os.Stderr, p.Output)
			p.PrintLogs()
		}
		return 1
	}
	shared = p
	code := m.Run()
	if code != 0 {
		p.PrintLogs()
	}
	return code
}
