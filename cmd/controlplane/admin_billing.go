package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack"
	"controlplane/internal/config"
	"controlplane/internal/provision"
)

// newAdminBillingCommand's backfill books what the books lack, and returns how many payments that were.
func newAdminBillingCommand(backfill func(ctx context.Context) (int, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "billing",
		Short: "Put the books in order",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() }, // so that an unknown command is an error
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "backfill",
		Short: "Book and invoice payments that were made before there were books",
		Long: "Book and invoice payments that were made before there were books, of the mode of PAYSTACK_SECRET_KEY. The daily reconciliation tells\n" +
			"of such payments as differences of the kind \"unbooked\". Invoices bear today's date. It may be broken off and run again; what is booked\n" +
			"is left alone.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := backfill(cmd.Context())
			if n > 0 || err == nil {
				_, _ = fmt.Fprintf(cmd.OutOrStdout(), "%d payments booked\n", n)
			}
			return err
		},
	})
	return cmd
}

func backfill(ctx context.Context) (int, error) {
	return withMoney(ctx, func(money *billing.Service) (int, error) { return money.Backfill(ctx) })
}

// withMoney opens billing for one operator command. Nobody works on the queue: what is enqueued is for serve's workers.
func withMoney(ctx context.Context, do func(*billing.Service) (int, error)) (int, error) {
	cfg, err := loadConfig(append(adminParts(), config.PartPayments)...)
	if err != nil {
		return 0, err
	}
	log := newLogger("warn", "admin")
	d, err := openDomain(ctx, cfg, log)
	if err != nil {
		return 0, err
	}
	defer d.pool.Close()
	gateway, err := paystack.New(paystack.Options{SecretKeys: cfg.Paystack.SecretKeys(), BaseURL: cfg.Paystack.BaseURL})
	if err != nil {
		return 0, fmt.Errorf("set up the payment gateway: %w", err)
	}
	invoices, err := newInvoices(cfg, d)
	if err != nil {
		return 0, err
	}
	money := billing.New(billing.Deps{
		Pool: d.pool, Tenants: d.tenants, Ops: d.ops, Gateway: gateway, Provisioner: provision.Enqueuer{Ops: d.ops}, Audit: d.audit, Invoices: invoices,
		Log: log,
	}, billing.Options{})
	money.Register()
	return do(money)
}
