// Command bench measures the platform on this machine and prints ratios of things measured side by side in one run: absolute times
// on a shared machine say little. It starts a platform of its own and removes it afterwards. See "make bench".
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"

	"controlplane/test/harness"
)

const (
	plan           = "business"
	rounds         = 5
	atOnce         = 10
	webhooksPerSec = 200
	webhookSeconds = 10
	templateWait   = 15 * time.Minute
	spares         = 10 // of each template, as TEMPLATE_SPARES has it by default
	spareWait      = 5 * time.Minute
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	p, err := harness.New()
	if err != nil {
		return err
	}
	defer p.Remove()
	delete(p.Env, "TEMPLATE_SPARES")
	fmt.Println("starting a platform and installing its templates …")
	if err := p.Start(); err != nil {
		p.PrintLogs()
		return err
	}
	b, err := newBench(ctx, p)
	if err != nil {
		return err
	}
	for _, measure := range []func(context.Context) error{b.webhooks, b.single, b.together, b.naive, b.memory} {
		if err := measure(ctx); err != nil {
			p.PrintLogs()
			return err
		}
	}
	return nil
}
