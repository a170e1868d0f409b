package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"controlplane/internal/acme"
	"controlplane/internal/certs"
)

// certDesk is what the certificate commands work with: the platform database and the CA, and neither API nor edge.
type certDesk struct {
	store  *certs.Store
	client *acme.Client // nil: no CA is asked
	base   string
	hosts  func(context.Context) ([]string, error) // that are to have a certificate
	files  []certs.Record                          // of the operator's own certificate
	tell   func(context.Context, acme.Health) error
	log    *slog.Logger
}

type openCertDesk func(ctx context.Context) (*certDesk, func(), error)

func newCertCommand(open openCertDesk) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cert",
		Short: "List and renew the edge's certificates",
		Long: `List and renew the edge's certificates. The commands need the platform database and the CA, and work while API and
edges are down; then they answer the CA's questions themselves, at the edge's ports. Edges take over what is new at once.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCertListCommand(open), newCertRenewCommand(open), newCertDryRunCommand(open))
	return cmd
}

func newCertListCommand(open openCertDesk) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show each certificate: until when it is good, and what went wrong last",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			desk, done, err := open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			list, err := desk.list(cmd.Context())
			if err != nil {
				return err
			}
			return printCertificates(cmd.OutOrStdout(), list, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newCertRenewCommand(open openCertDesk) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "renew [HOST...]",
		Short: "Get new certificates now",
		Long: `Get new certificates now, for the hosts that are named whether it is time or not, else for all that are due or missing,
those whose next try is later included. Edges do this by themselves; the command is for after trouble, or a lost key.`,
		Example: "  controlplane cert renew\n  controlplane cert renew '*.erp.example.com' shop.example.net",
		RunE: func(cmd *cobra.Command, names []string) error {
			return withCertDesk(cmd, open, func(ctx context.Context, desk *certDesk) error { return desk.renew(ctx, cmd.OutOrStdout(), names, all) })
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all hosts, also those whose certificates are good for long")
	return cmd
}

func newCertDryRunCommand(open openCertDesk) *cobra.Command {
	return &cobra.Command{
		Use:   "dry-run [HOST...]",
		Short: "Try whether certificates can be had, and keep none",
		Long: `Go through everything by which a certificate is obtained, and throw it away: for the hosts that are named, else for the
platform's own. Let's Encrypt is asked at its trial CA, whose limits are others; another CA is asked itself.`,
		RunE: func(cmd *cobra.Command, names []string) error {
			return withCertDesk(cmd, open, func(ctx context.Context, desk *certDesk) error { return desk.dryRun(ctx, cmd.OutOrStdout(), names) })
		},
	}
}

// withCertDesk runs a command that asks a CA.
func withCertDesk(cmd *cobra.Command, open openCertDesk, do func(context.Context, *certDesk) error) error {
	desk, done, err := open(cmd.Context())
	if err != nil {
		return err
	}
	defer done()
	if desk.client == nil {
		return errors.New("no CA is configured: set ACME_EMAIL")
	}
	return do(cmd.Context(), desk)
}

// list returns all that is wanted or there.
func (d *certDesk) list(ctx context.Context) ([]certs.Record, error) {
	list, err := d.store.All(ctx)
	if err != nil {
		return nil, err
	}
	hosts, err := d.hosts(ctx)
	if err != nil {
		return nil, err
	}
	for _, host := range hosts {
		if !slices.ContainsFunc(list, func(r certs.Record) bool { return r.Host == host }) {
			list = append(list, certs.Record{Host: host})
		}
	}
	list = append(list, d.files...)
	slices.SortFunc(list, func(a, b certs.Record) int { return strings.Compare(a.Host, b.Host) })
	return list, nil
}

// pick returns the hosts that are meant by names. A host of nobody's gets no certificate, also not by hand.
func (d *certDesk) pick(ctx context.Context, names []string) ([]string, error) {
	hosts, err := d.hosts(ctx)
	if err != nil || len(names) == 0 {
		return hosts, err
	}
	var picked []string
	for _, name := range names {
		host := strings.ToLower(strings.TrimSuffix(name, "."))
		if acme.Covers(d.base, host) {
			host = acme.Platform(d.base)
		}
		if !slices.Contains(hosts, host) {
			return nil, fmt.Errorf("%s is neither the platform's nor a client's proven domain", name)
		}
		if !slices.Contains(picked, host) {
			picked = append(picked, host)
		}
	}
	return picked, nil
}

func (d *certDesk) renew(ctx context.Context, out io.Writer, names []string, all bool) error {
	hosts, err := d.pick(ctx, names)
	if err != nil {
		return err
	}
	now := time.Now()
	deps := acme.Deps{Store: d.store, Issuer: d.client, Tell: d.tell, Log: d.log}
	return each(ctx, out, hosts, func(host string) (string, error) {
		record, err := d.store.Record(ctx, host)
		if err != nil && !errors.Is(err, certs.ErrNotFound) {
			return "", err
		}
		if len(names) == 0 && !all && record.Version > 0 && now.Before(record.RenewAt) {
			return "is good until " + date(record.NotAfter), nil
		}
		done, err := acme.Obtain(ctx, deps, host, true)
		if err != nil {
			return "", err
		}
		if !done {
			return "is being renewed by another process", nil
		}
		if record, err = d.store.Record(ctx, host); err != nil {
			return "", err
		}
		return "has a new certificate, good until " + date(record.NotAfter), nil
	})
}

func (d *certDesk) dryRun(ctx context.Context, out io.Writer, names []string) error {
	if len(names) == 0 {
		names = []string{d.base}
	}
	hosts, err := d.pick(ctx, names)
	if err != nil {
		return err
	}
	trial := d.client.Rehearsal()
	return each(ctx, out, hosts, func(host string) (string, error) {
		cert, err := trial.Issue(ctx, host)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("could have a certificate for %s from %s", strings.Join(cert.Names, ", "), trial.Directory()), nil
	})
}

// each does something for all hosts, and says of each what came of it.
func each(ctx context.Context, out io.Writer, hosts []string, do func(host string) (string, error)) error {
	failed := 0
	for _, host := range hosts {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		said, err := do(host)
		if err != nil {
			failed++
			said = "failed: " + err.Error()
		}
		if _, err := fmt.Fprintf(out, "%s %s\n", host, said); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d failed", failed, len(hosts))
	}
	return nil
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// certificateLine is a certificate as JSON.
type certificateLine struct {
	Host      string     `json:"host"`
	Names     []string   `json:"names,omitempty"`
	State     acme.State `json:"state"`
	Issuer    string     `json:"issuer,omitempty"`
	NotAfter  *time.Time `json:"not_after,omitempty"`
	RenewAt   *time.Time `json:"renew_at,omitempty"`
	Failures  int        `json:"failures,omitempty"`
	LastError string     `json:"last_error,omitempty"`
	RetryAt   *time.Time `json:"retry_at,omitempty"`
}

func printCertificates(out io.Writer, list []certs.Record, asJSON bool) error {
	now := time.Now()
	if asJSON {
		lines := make([]certificateLine, 0, len(list))
		for _, r := range list {
			lines = append(lines, certificateLine{
				Host: r.Host, Names: r.Names, State: acme.StateOf(r, now), Issuer: r.Issuer, NotAfter: known(r.NotAfter), RenewAt: known(r.RenewAt),
				Failures: r.Failures, LastError: r.LastError, RetryAt: known(r.RetryAt),
			})
		}
		return json.NewEncoder(out).Encode(lines)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "HOST\tSTATE\tGOOD UNTIL\tRENEWED FROM\tLAST ERROR") // Flush returns what goes wrong
	for _, r := range list {
		until, renew, trouble := "-", "-", "-"
		if r.Version > 0 {
			until, renew = date(r.NotAfter), date(r.RenewAt)
		}
		if r.LastError != "" {
			trouble = fmt.Sprintf("%s (%d failures, next try %s)", strings.Join(strings.Fields(r.LastError), " "), r.Failures, date(r.RetryAt))
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", r.Host, acme.StateOf(r, now), until, renew, trouble)
	}
	return table.Flush()
}

func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
