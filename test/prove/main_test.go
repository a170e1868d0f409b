// Package prove_test shows that nothing is lost, whatever dies: the platform's own processes run on a real engine and real PostgreSQL,
// with a stand-in for Odoo, and are killed, cut off and raced. A bounded part runs with all tests; PROVE=all runs everything, and
// docs/proofs.md says what that showed.
package prove_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"controlplane/test/rig"
)

var (
	shared   *world                              //nolint:gochecknoglobals // set once by TestMain: starting a platform takes seconds
	all      = os.Getenv("PROVE") == "all"       //nolint:gochecknoglobals,forbidigo // the tests' own setting
	realOdoo = os.Getenv("PROVE_ODOO") == "real" //nolint:gochecknoglobals,forbidigo // the same
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctx := context.Background()
	r, err := rig.New(ctx, rig.Options{RealOdoo: realOdoo})
	if err != nil {
		fmt.Fprintln(os.Stderr, "the platform under test doesn't start:", err)
		return 1
	}
	defer func() {
		if err := r.Close(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "clean up:", err)
		}
	}()
	start := time.Now()
	if shared, err = newWorld(ctx, r); err != nil {
		fmt.Fprintln(os.Stderr, "the platform under test doesn't start:", err)
		return 1
	}
	fmt.Printf("platform and templates ready after %.1f s\n", time.Since(start).Seconds())
	code := m.Run()
	if code != 0 {
		fmt.Fprintln(os.Stderr, "the end of serve's log:\n"+shared.serve.Tail(40))
	}
	return code
}
