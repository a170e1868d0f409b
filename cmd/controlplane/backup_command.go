package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"controlplane/internal/accounts"
	"controlplane/internal/backup"
	"controlplane/internal/backup/archive"
	"controlplane/internal/config"
	"controlplane/internal/ops"
)

// vault is what the commands need of a backup.Vault.
type vault interface {
	List(ctx context.Context, client string) ([]backup.Stored, error)
	Verify(ctx context.Context, name string) (archive.Manifest, error)
	Fetch(ctx context.Context, name, dir string) (archive.Manifest, error)
}

// newBackupCommand's open returns the store's backups; run takes one of a client and returns it when that has ended; inPlace restores one; try
// has one restored into a sandbox.
func newBackupCommand(
	open func() (vault, error), run func(ctx context.Context, client string) (backup.Backup, error), inPlace, try func(ctx context.Context, name string) error,
) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Take, list, verify, fetch and restore backups",
		Long: "Take, list, verify, fetch and restore backups. All but \"run\", \"verify --restore\" and \"restore --in-place\" need nothing but the\n" +
			"bucket and the key: S3_* (or SPACES_*) and BACKUP_KEY. They work when the API, the workers and the platform's database are down or lost; see\n" +
			"docs/recovery.md.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }, // so that an unknown command is an error
	}
	cmd.AddCommand(newBackupRunCommand(run), newBackupListCommand(open), newBackupVerifyCommand(open, try), newBackupRestoreCommand(open, inPlace))
	return cmd
}

func newBackupRunCommand(run func(ctx context.Context, client string) (backup.Backup, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "run CLIENT",
		Short: "Have a worker back up a client now, and wait for it",
		Long: "Have a worker back up a client now, and wait for it. It needs serve's environment and a worker, not the API. Interrupting it\n" +
			"doesn't end the backup.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := run(cmd.Context(), args[0])
			switch {
			case err != nil:
				return err
			case !b.Good():
				return fmt.Errorf("backup %s of %s is %s: %s", b.ID, b.TenantName, b.State, b.Error)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s, read back whole\n", b.KeyPrefix, sizeText(b.StoredBytes))
			return err
		},
	}
}

func newBackupListCommand(open func() (vault, error)) *cobra.Command {
	var client string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the backups that are in the store, the newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := open()
			if err != nil {
				return err
			}
			list, err := v.List(cmd.Context(), client)
			if err != nil {
				return err
			}
			return writeStored(cmd.OutOrStdout(), list)
		},
	}
	cmd.Flags().StringVar(&client, "client", "", "only of this client; "+backup.PlatformOwner+" is the platform's own database, of any installation")
	return cmd
}

func writeStored(w io.Writer, list []backup.Stored) error {
	out := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(out, "TAKEN\tKIND\tSIZE\tNAME") // kept by the writer; Flush tells
	for _, s := range list {
		note := ""
		if !s.Complete {
			note = " (not complete)"
		}
		_, _ = fmt.Fprintf(out, "%s\t%s\t%s\t%s%s\n", s.At.Format(time.RFC3339), s.Kind, sizeText(s.Bytes), s.Name, note)
	}
	return out.Flush()
}

func sizeText(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/(1<<20)) }

func newBackupVerifyCommand(open func() (vault, error), try func(ctx context.Context, name string) error) *cobra.Command {
	var restore bool
	cmd := &cobra.Command{
		Use:   "verify NAME",
		Short: "Read all of a backup back and compare it with what was written, or have it restored for a trial",
		Long: "Read all of a backup back and compare it with what was written.\n\n" +
			"With --restore a worker restores it into a sandbox, starts Odoo on it and asks for the login page, as is done with each client's\n" +
			"newest one every week, and this waits. That needs serve's environment and a worker, not the API. The client isn't touched.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if restore {
				if err := try(cmd.Context(), args[0]); err != nil {
					return err
				}
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "It was restored into a sandbox, and Odoo answered on it")
				return err
			}
			v, err := open()
			if err != nil {
				return err
			}
			m, err := v.Verify(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return writeManifest(cmd.OutOrStdout(), m, "All of it is as it was written")
		},
	}
	cmd.Flags().BoolVar(&restore, "restore", false, "into a sandbox, and start Odoo on it")
	return cmd
}

func newBackupRestoreCommand(open func() (vault, error), inPlace func(ctx context.Context, name string) error) *cobra.Command {
	var back bool
	cmd := &cobra.Command{
		Use:   "restore NAME [DIRECTORY]",
		Short: "Fetch a backup into a new directory, or have a worker restore it into its client",
		Long: "Fetch a backup into a new directory: database.dump for pg_restore, filestore/ as Odoo keeps it, and manifest.json. Nothing is left\n" +
			"there unless all of it is as it was written. docs/recovery.md says how to go on.\n\n" +
			"With --in-place a worker restores it into the client that it is of, and this waits. That needs serve's environment and a worker,\n" +
			"not the API. What there is now is backed up first, and put back if the restored Odoo doesn't start.",
		Example: "  controlplane backup restore acme/acme_daily_20260302_021500_0a1b2c3d /mnt/acme\n" +
			"  controlplane backup restore acme/acme_daily_20260302_021500_0a1b2c3d --in-place",
		Args: func(cmd *cobra.Command, args []string) error {
			if back {
				return cobra.ExactArgs(1)(cmd, args)
			}
			return cobra.ExactArgs(2)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if back {
				if err := inPlace(cmd.Context(), args[0]); err != nil {
					return err
				}
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "The client is restored and answers")
				return err
			}
			v, err := open()
			if err != nil {
				return err
			}
			m, err := v.Fetch(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			return writeManifest(cmd.OutOrStdout(), m, "All of it is in "+args[1])
		},
	}
	cmd.Flags().BoolVar(&back, "in-place", false, "into the client that it is of")
	return cmd
}

func writeManifest(w io.Writer, m archive.Manifest, told string) error {
	files := "no files"
	if m.Filestore != nil {
		files = fmt.Sprintf("%d files of %s", m.Filestore.Count, sizeText(m.Filestore.Size))
	}
	_, err := fmt.Fprintf(w, "%s: %s, %s of %s, a dump of %s and %s\n", told, m.Tenant, m.Kind, m.TakenAt.UTC().Format(time.RFC3339), sizeText(m.Dump.Bytes), files)
	return err
}

// openVault reads the store's settings alone.
func openVault() (vault, error) {
	environ, err := config.Environ(dotEnv)
	if err != nil {
		return nil, err
	}
	cfg, err := config.LoadBackup(environ)
	if err != nil {
		return nil, err
	}
	place, keys, err := openStore(cfg)
	if err != nil {
		return nil, err
	}
	return backup.NewVault(place, keys, cfg.KeyPrefix()), nil
}

// backupOffice is what the commands that enqueue work with.
type backupOffice struct {
	*domain
	backups *backup.Service
	desk    *backup.Desk
}

func openBackupOffice(ctx context.Context) (*backupOffice, error) {
	cfg, err := loadConfig(append(adminParts(), config.PartBackups)...)
	if err != nil {
		return nil, err
	}
	d, err := openDomain(ctx, cfg, newLogger("warn", "backup"))
	if err != nil {
		return nil, err
	}
	o := &backupOffice{domain: d}
	if o.backups, err = newBackups(d, cfg); err == nil {
		o.desk, err = backup.NewDesk(backup.DeskDeps{Pool: d.pool, Backups: o.backups, Tenants: d.tenants, Audit: d.audit}, backup.DeskOptions{})
	}
	if err != nil {
		d.pool.Close()
		return nil, err
	}
	return o, nil
}

func byOperator() backup.Request {
	return backup.Request{By: accounts.Principal{Username: "operator", Admin: true}}
}

// await waits for serve's workers.
func (o *backupOffice) await(ctx context.Context, id ops.ID) (ops.Operation, error) {
	op, err := o.ops.Wait(ctx, id)
	if err == nil && ctx.Err() != nil {
		err = errors.Join(fmt.Errorf("operation %d goes on", id), ctx.Err())
	}
	return op, err
}

func runBackup(ctx context.Context, client string) (backup.Backup, error) {
	o, err := openBackupOffice(ctx)
	if err != nil {
		return backup.Backup{}, err
	}
	defer o.pool.Close()
	b, err := o.desk.Order(ctx, byOperator(), client, string(backup.Manual))
	if err != nil {
		return b, err
	}
	if _, err := o.await(ctx, b.OperationID); err != nil {
		return b, err
	}
	return o.backups.Get(ctx, b.ID)
}

func restoreInPlace(ctx context.Context, name string) error {
	o, err := openBackupOffice(ctx)
	if err != nil {
		return err
	}
	defer o.pool.Close()
	b, err := o.backups.Named(ctx, name)
	if err != nil {
		return err
	}
	op, err := o.desk.Restore(ctx, byOperator(), b.ID, backup.RestoreOrder{})
	if err != nil {
		return err
	}
	return o.awaitDone(ctx, op.ID)
}

func tryBackup(ctx context.Context, name string) error {
	o, err := openBackupOffice(ctx)
	if err != nil {
		return err
	}
	defer o.pool.Close()
	b, err := o.backups.Named(ctx, name)
	if err != nil {
		return err
	}
	op, err := o.desk.Prove(ctx, byOperator(), b.ID)
	if err != nil {
		return err
	}
	return o.awaitDone(ctx, op.ID)
}

func (o *backupOffice) awaitDone(ctx context.Context, id ops.ID) error {
	op, err := o.await(ctx, id)
	if err == nil && op.State != ops.Done {
		err = fmt.Errorf("operation %d is %s at step %s: %s", op.ID, op.State, op.Step, op.ErrorDetail)
	}
	return err
}
