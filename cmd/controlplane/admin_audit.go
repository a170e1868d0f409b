package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"controlplane/internal/audit"
)

// verifyFunc computes the activity log's chain again.
type verifyFunc func(ctx context.Context, anchors []audit.Anchor) (audit.Report, error)

func newAdminAuditCommand(verify verifyFunc) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Check the activity log",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAuditVerifyCommand(verify))
	return cmd
}

func newAuditVerifyCommand(verify verifyFunc) *cobra.Command {
	var asJSON bool
	var noted []string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check that nobody has changed the activity log",
		Long: `Compute the activity log's hash chain again and compare. Rows that were changed, deleted or inserted are named, and
the command exits with 1.

It prints the head of the chain. Note it outside of the database (every new head is in serve's log too) and show it
later with --anchor: only so can it be seen that the newest rows were cut off together with the end of the chain.
Rows that have come since the last batch aren't under the chain yet; they are counted.`,
		Example: "  controlplane admin audit verify\n" +
			"  controlplane admin audit verify --json --anchor 41:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			anchors := make([]audit.Anchor, 0, len(noted))
			for _, text := range noted {
				a, err := audit.ParseAnchor(text)
				if err != nil {
					return fmt.Errorf("--anchor: %w", err)
				}
				anchors = append(anchors, a)
			}
			report, err := verify(cmd.Context(), anchors)
			if err != nil {
				return err
			}
			if err := printReport(cmd.OutOrStdout(), report, asJSON); err != nil {
				return err
			}
			if !report.OK() {
				return errors.New("the activity log isn't what was sealed")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	cmd.Flags().StringArrayVar(&noted, "anchor", nil, "a head that was noted before; may be repeated")
	return cmd
}

func printReport(out io.Writer, r audit.Report, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(r)
	}
	for _, p := range r.Problems {
		if _, err := fmt.Fprintln(out, p); err != nil {
			return err
		}
	}
	if r.More > 0 {
		_, _ = fmt.Fprintf(out, "and %d more\n", r.More)
	}
	_, err := fmt.Fprintf(out, "%d rows in %d batches, %d rows not sealed yet\n", r.Rows, r.Batches, r.Unsealed)
	if err == nil && r.Head != "" {
		_, err = fmt.Fprintf(out, "head: %s\n", r.Head)
	}
	return err
}

// verifyAudit opens what the command needs.
func verifyAudit(ctx context.Context, anchors []audit.Anchor) (audit.Report, error) {
	d, done, err := openAdmin(ctx)
	if err != nil {
		return audit.Report{}, err
	}
	defer done()
	return d.chain.Verify(ctx, anchors...)
}
