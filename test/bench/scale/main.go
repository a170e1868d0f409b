// Command scale measures what becomes of the platform when there is much of everything: 100,000 clients in its database, and 60 on one
// engine, with a stand-in for Odoo. It starts a platform of its own and removes it afterwards. See "make bench".
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"

	"controlplane/test/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	r, err := rig.New(ctx, rig.Options{})
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := r.Close(ctx); err == nil {
			err = closeErr
		}
	}()
	serve, err := r.Serve(ctx)
	if err != nil {
		return err
	}
	if err := crowd(ctx, r); err != nil {
		return fmt.Errorf("many clients on one engine: %w\n%s", err, serve.Tail(20))
	}
	if err := lists(ctx, r); err != nil {
		return fmt.Errorf("list and get: %w\n%s", err, serve.Tail(20))
	}
	serve.Stop() // its own sweeps would be faster
	return sweeps(ctx, r)
}

// percentile of sorted times.
func percentile(d []time.Duration, p int) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[min(len(d)-1, len(d)*p/100)]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
