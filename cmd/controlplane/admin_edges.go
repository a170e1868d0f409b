package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// edgeDesk is what the commands about edges work with.
type edgeDesk struct {
	pool        *pgxpool.Pool
	audit       *audit.Log
	silentAfter time.Duration
}

type openEdgesFunc func(ctx context.Context) (edgeDesk, func(), error)

func newAdminEdgesCommand(open openEdgesFunc) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "edges",
		Short: "List the edges, and forget those that are gone for good",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() }, // so that an unknown command is an error
	}
	cmd.AddCommand(newEdgesListCommand(open), newEdgesForgetCommand(open))
	return cmd
}

func newEdgesListCommand(open openEdgesFunc) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the edges that have reported",
		Long: "List the edges that have reported, the oldest first, each under the id of its copy of the routes (the first line of\n" +
			"EDGE_STATE_FILE). AS OF is when it last compared its routes with the platform's. An edge is reporting, silent (for\n" +
			"EDGE_SILENT_MINUTES, with the alert edge.silent; it may still serve by its copy, so what was freed since waits for it), or\n" +
			"stopped: silent for so long that it passes nothing on any more, whatever it can reach.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			desk, done, err := open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			edges, err := tenants.Edges(cmd.Context(), desk.pool, desk.silentAfter)
			if err != nil {
				return err
			}
			return writeEdges(cmd.OutOrStdout(), edges)
		},
	}
}

func writeEdges(w io.Writer, edges []tenants.Edge) error {
	out := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(out, "ID\tFIRST SEEN\tAS OF\tSTATE") // kept by the writer; Flush tells
	for _, e := range edges {
		_, _ = fmt.Fprintf(out, "%s\t%s\t%s\t%s\n", e.ID, e.FirstSeen.UTC().Format(time.RFC3339), e.AsOf.UTC().Format(time.RFC3339), e.State)
	}
	return out.Flush()
}

func newEdgesForgetCommand(open openEdgesFunc) *cobra.Command {
	return &cobra.Command{
		Use:   "forget ID",
		Short: "Forget a silent edge that is gone for good",
		Long: "Forget a silent edge that is gone for good, so that subnets that were freed since its last report may be given away. Be sure\n" +
			"that it has stopped and that its EDGE_STATE_FILE is deleted: an edge that is cut off from the platform's database goes on by\n" +
			"that file for 14 days, and could lead visitors to a client of which it hasn't heard. An edge that still reports isn't\n" +
			"forgotten, and one that reports again is there again. It is in the activity log.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			desk, done, err := open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			if err := desk.forget(cmd.Context(), args[0]); err != nil {
				return readable(err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "edge %s forgotten\n", args[0])
			return err
		},
	}
}

// forget leaves the alert to the schedule that raised it, which sees a minute later that the edge isn't missed any more.
func (d edgeDesk) forget(ctx context.Context, id string) error {
	return postgres.InTx(ctx, d.pool, func(tx pgx.Tx) error {
		e, err := tenants.ForgetEdge(ctx, tx, id, d.silentAfter)
		if err != nil {
			return err
		}
		return d.audit.RecordTx(ctx, tx, audit.Entry{Actor: accounts.Operator, Action: "edge.forget", Detail: map[string]any{
			"edge": e.ID, "first_seen": e.FirstSeen, "as_of": e.AsOf,
		}})
	})
}

func openEdges(ctx context.Context) (edgeDesk, func(), error) {
	cfg, err := loadConfig(adminParts()...)
	if err != nil {
		return edgeDesk{}, nil, err
	}
	d, err := openDomain(ctx, cfg, newLogger("warn", "admin"))
	if err != nil {
		return edgeDesk{}, nil, err
	}
	return edgeDesk{pool: d.pool, audit: d.audit, silentAfter: cfg.Edge.SilentAfter()}, d.pool.Close, nil
}
