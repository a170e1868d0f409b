package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"controlplane/internal/config"
	"controlplane/internal/postgres"
	"controlplane/internal/provision"
)

// newAdminOrphansCommand's list returns what is orphaned.
func newAdminOrphansCommand(list func(ctx context.Context) ([]provision.Orphan, error)) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "orphans",
		Short: "List what bears our installation's id and belongs to nothing",
		Long: "List the containers, networks, volumes, databases, roles and templates that bear this installation's id and belong to no client\n" +
			"and no template in use, also those whose time of grace isn't over. It changes nothing: serve removes them when they have been\n" +
			"there for a day. It prints nothing and exits with 0 when there are none, and exits with 1 when there are any. It needs the\n" +
			"container engine and the tenants' database server, and may run beside serve.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			orphans, err := list(cmd.Context())
			if err != nil || len(orphans) == 0 {
				return err
			}
			if asJSON {
				err = writeOrphansJSON(cmd.OutOrStdout(), orphans)
			} else {
				err = writeOrphans(cmd.OutOrStdout(), orphans)
			}
			if err == nil {
				err = fmt.Errorf("%d orphaned", len(orphans))
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object per line")
	return cmd
}

func writeOrphans(w io.Writer, orphans []provision.Orphan) error {
	out := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(out, "KIND\tNAME\tOWNER\tFIRST SEEN\tREASON") // kept by the writer; Flush tells
	for _, o := range orphans {
		owner, seen := "-", "now"
		if o.Owner != "" {
			owner = o.Owner
		}
		if !o.FirstSeen.IsZero() {
			seen = o.FirstSeen.UTC().Format(time.RFC3339)
		}
		_, _ = fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\n", o.Kind, o.Name, owner, seen, o.Reason)
	}
	return out.Flush()
}

func writeOrphansJSON(w io.Writer, orphans []provision.Orphan) error {
	out := json.NewEncoder(w)
	for _, o := range orphans {
		line := struct {
			Kind      provision.ObjectKind `json:"kind"`
			Name      string               `json:"name"`
			Owner     string               `json:"owner"`
			Reason    string               `json:"reason"`
			FirstSeen *time.Time           `json:"first_seen"` // null: not recorded yet
			Kept      bool                 `json:"kept"`       // only a person may remove it
		}{o.Kind, o.Name, o.Owner, o.Reason, nil, o.Keep}
		if !o.FirstSeen.IsZero() {
			line.FirstSeen = &o.FirstSeen
		}
		if err := out.Encode(line); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

// listOrphans asks engine and database server as a worker would; no operation is begun.
func listOrphans(ctx context.Context) ([]provision.Orphan, error) {
	cfg, err := loadConfig(append(adminParts(), config.PartCluster)...)
	if err != nil {
		return nil, err
	}
	log := newLogger("warn", "admin")
	d, err := openDomain(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	defer d.pool.Close()
	installation, err := postgres.InstallationID(ctx, d.pool)
	if err != nil {
		return nil, err
	}
	p := &platform{domain: d, cfg: cfg, log: log}
	if err := p.wireProvision(ctx, installation); err != nil {
		return nil, err
	}
	defer p.cluster.Close()
	return p.provision.Orphans(ctx)
}
