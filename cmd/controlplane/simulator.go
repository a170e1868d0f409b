package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/secrets"
)

// simulatorFlags are the options of paystack-simulator. Keys come from the environment: a command line is for all to read.
type simulatorFlags struct {
	listen, adminListen string
	options             simulator.Options
}

func newSimulatorCommand() *cobra.Command {
	var f simulatorFlags
	cmd := &cobra.Command{
		Use:   "paystack-simulator",
		Short: "Run a local Paystack: API, checkout page and webhooks, without real money",
		Long: `Run a local Paystack for development: the API of transactions, saved cards, refunds,
disputes, customers, plans and subscriptions with the checkout page on one port, and an
admin API with fault switches, disputes to open, a movable clock and a journal on another.

The keys that it accepts are read from PAYSTACK_SECRET_KEY (comma-separated), or from
the file named by PAYSTACK_SECRET_KEY_FILE; test and live keys have separate stores.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runSimulator(cmd, f) },
	}
	cmd.Flags().StringVar(&f.listen, "listen", "127.0.0.1:8010", "address of the API and the checkout page")
	cmd.Flags().StringVar(&f.adminListen, "admin-listen", "127.0.0.1:8011", `address of the admin API, which has no password ("": none)`)
	cmd.Flags().StringVar(&f.options.PublicURL, "public-url", "", "where browsers reach the checkout page (default: the host that the API was called at)")
	cmd.Flags().StringVar(&f.options.WebhookURL, "webhook-url", "http://127.0.0.1:8001/api/payments/webhook", "where events are delivered")
	cmd.Flags().StringVar(&f.options.StateFile, "state-file", "", "keep transactions and undelivered events in this file over a restart")
	cmd.Flags().Uint64Var(&f.options.Seed, "seed", 1, "ids and codes are the same for the same seed")
	return cmd
}

func runSimulator(cmd *cobra.Command, f simulatorFlags) error {
	ctx := cmd.Context()
	keys, err := simulatorKeys(os.LookupEnv) //nolint:forbidigo // it has two variables, and must start where the rest of the configuration is missing
	if err != nil {
		return err
	}
	f.options.SecretKeys = keys
	f.options.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
	sim, err := simulator.New(f.options)
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	api, err := lc.Listen(ctx, "tcp", f.listen)
	if err != nil {
		return fmt.Errorf("listen for the simulator's API: %w", err)
	}
	var admin net.Listener
	if f.adminListen != "" {
		if admin, err = lc.Listen(ctx, "tcp", f.adminListen); err != nil {
			return fmt.Errorf("listen for the simulator's admin API: %w", err)
		}
	}
	fmt.Fprintf(cmd.OutOrStdout(), "Paystack simulator at http://%s, admin API at %s, events to %s\n", api.Addr(), f.adminListen, f.options.WebhookURL)
	return sim.Serve(ctx, api, admin)
}

// simulatorKeys reads only its own two variables: the simulator needs no other configuration, and no database.
func simulatorKeys(getenv func(string) (string, bool)) ([]secrets.Secret, error) {
	text, _ := getenv("PAYSTACK_SECRET_KEY")
	if file, ok := getenv("PAYSTACK_SECRET_KEY_FILE"); ok && text == "" {
		content, err := os.ReadFile(file) //nolint:gosec // the operator names the file
		if err != nil {
			return nil, fmt.Errorf("read PAYSTACK_SECRET_KEY_FILE: %w", err)
		}
		text = string(content)
	}
	var keys []secrets.Secret
	for key := range strings.SplitSeq(text, ",") {
		if key = strings.TrimSpace(key); key != "" {
			keys = append(keys, secrets.Secret(key))
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("set PAYSTACK_SECRET_KEY to the key that the simulator accepts")
	}
	return keys, nil
}
