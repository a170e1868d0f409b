package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"controlplane/internal/billing"
)

type replayFunc func(ctx context.Context, f billing.ReplayFilter) (int, error)

// newAdminWebhookCommand's replay has stored events applied again, and returns how many.
func newAdminWebhookCommand(replay replayFunc) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "webhook",
		Short: "Apply stored payment events again",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() }, // so that an unknown command is an error
	}
	cmd.AddCommand(newReplayCommand(replay))
	return cmd
}

func newReplayCommand(replay replayFunc) *cobra.Command {
	var f billing.ReplayFilter
	var since, until string
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Have serve apply stored payment events again",
		Long: "Have serve apply stored payment events again, oldest first. It is harmless: the payment gateway is asked for the present state of\n" +
			"what an event is about, and that is applied. Say which events are meant by at least one flag; several narrow the choice.",
		Example: "  controlplane admin webhook replay --reference ODOO-0123456789AB\n" +
			"  controlplane admin webhook replay --since 2026-03-01T00:00:00Z --until 2026-03-02T00:00:00Z",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if f.Since, err = moment("--since", since); err != nil {
				return err
			}
			if f.Until, err = moment("--until", until); err != nil {
				return err
			}
			if f == (billing.ReplayFilter{}) {
				return errors.New("say which events: --event, --reference, --since or --until")
			}
			n, err := replay(cmd.Context(), f)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d events will be applied again\n", n)
			return err
		},
	}
	cmd.Flags().Int64Var(&f.EventID, "event", 0, "the stored event of this id")
	cmd.Flags().StringVar(&f.Reference, "reference", "", "events about the payment of this reference")
	cmd.Flags().StringVar(&since, "since", "", "events received at this time or later, as 2026-03-01T00:00:00Z")
	cmd.Flags().StringVar(&until, "until", "", "events received before this time")
	return cmd
}

// moment is zero for a flag that wasn't given.
func moment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: %q is not a time such as 2026-03-01T00:00:00Z", flag, text)
	}
	return at, nil
}

// replayEvents only enqueues; serve's workers do the rest.
func replayEvents(ctx context.Context, f billing.ReplayFilter) (int, error) {
	return withMoney(ctx, func(money *billing.Service) (int, error) { return money.Replay(ctx, f) })
}
