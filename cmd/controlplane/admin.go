package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
	"controlplane/internal/secrets"
)

// openFunc opens the accounts for one command; the function that it returns closes them.
type openFunc func(ctx context.Context) (*accounts.Service, func(), error)

// newAdminCommand gathers the operator's commands; those in more need other parts than accounts.
func newAdminCommand(open openFunc, more ...*cobra.Command) *cobra.Command {
	admin := &cobra.Command{
		Use:   "admin",
		Short: "Make administrators, and help people who can't log in",
		Long: "Commands for whoever runs the platform. They work on the platform database (DATABASE_URL), also while serve is running,\n" +
			"and every one that changes something is in the activity log. They exit with 1 when something is wrong.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }, // so that an unknown command is an error
	}
	admin.AddCommand(newAdminCreateCommand(open), newAdminDisableCommand(open), newAdminEnableCommand(open),
		newAdminResetCommand(open), newAdminListCommand(open), newAdminRefusedCommand(open))
	admin.AddCommand(more...)
	return admin
}

func newAdminCreateCommand(open openFunc) *cobra.Command {
	var in accounts.RegisterInput
	var fullName string
	var stdin bool
	cmd := &cobra.Command{
		Use:   "create USERNAME EMAIL",
		Short: "Make an account that is an administrator",
		Long: "Make an account that is an administrator. It gets a random password, which is printed once to standard output, or the\n" +
			"one that is read from standard input (see --password-stdin). Passwords are never taken from the command line.",
		Example: "  controlplane admin create alice alice@example.com\n" +
			"  controlplane admin create alice alice@example.com --password-stdin < password.txt",
		Args: cobra.ExactArgs(2),
		RunE: withAccounts(open, func(cmd *cobra.Command, s *accounts.Service, args []string) error {
			in.Username, in.Email = args[0], args[1]
			if fullName != "" {
				in.FullName = &fullName
			}
			var err error
			if in.Password, err = passwordFrom(cmd.InOrStdin(), stdin); err != nil {
				return err
			}
			a, err := s.CreateAdmin(cmd.Context(), in)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "administrator %s <%s> created (id %s)\n", a.Username, a.Email, a.ID)
			return errors.Join(err, showPassword(cmd.OutOrStdout(), in.Password, stdin))
		}),
	}
	cmd.Flags().StringVar(&fullName, "full-name", "", "the person's name")
	passwordFlag(cmd, &stdin)
	return cmd
}

func newAdminDisableCommand(open openFunc) *cobra.Command {
	return &cobra.Command{
		Use:   "disable LOGIN",
		Short: "Keep an account from logging in, and end its sessions at once",
		Long:  "Keep the account with that user name or e-mail address from logging in, and end its sessions at once. What it hosts keeps running.",
		Args:  cobra.ExactArgs(1),
		RunE:  setDisabled(open, true),
	}
}

func newAdminEnableCommand(open openFunc) *cobra.Command {
	return &cobra.Command{
		Use:   "enable LOGIN",
		Short: "Let a disabled account log in again",
		Args:  cobra.ExactArgs(1),
		RunE:  setDisabled(open, false),
	}
}

func setDisabled(open openFunc, disabled bool) func(*cobra.Command, []string) error {
	return withAccounts(open, func(cmd *cobra.Command, s *accounts.Service, args []string) error {
		if err := s.SetDisabled(cmd.Context(), args[0], disabled); err != nil {
			return err
		}
		done := "enabled"
		if disabled {
			done = "disabled"
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", args[0], done)
		return err
	})
}

func newAdminResetCommand(open openFunc) *cobra.Command {
	var stdin bool
	cmd := &cobra.Command{
		Use:   "reset-password LOGIN",
		Short: "Give an account a new password, and end its sessions at once",
		Long: "Give the account with that user name or e-mail address a random password, which is printed once to standard output, or\n" +
			"the one that is read from standard input (see --password-stdin). All its sessions end at once.",
		Args: cobra.ExactArgs(1),
		RunE: withAccounts(open, func(cmd *cobra.Command, s *accounts.Service, args []string) error {
			password, err := newPassword(cmd, s, args[0], stdin)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "password of %s changed\n", args[0])
			return errors.Join(err, showPassword(cmd.OutOrStdout(), password, stdin))
		}),
	}
	passwordFlag(cmd, &stdin)
	return cmd
}

func newPassword(cmd *cobra.Command, s *accounts.Service, login string, stdin bool) (secrets.Secret, error) {
	if !stdin {
		return s.ResetPassword(cmd.Context(), login)
	}
	password, err := passwordFrom(cmd.InOrStdin(), stdin)
	if err != nil {
		return "", err
	}
	return password, s.SetPassword(cmd.Context(), login, password)
}

// newAdminRekeyCommand's rekey seals again whatever isn't sealed with the first data key, and returns how many rows it changed.
func newAdminRekeyCommand(rekey func(ctx context.Context) (int, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "rekey",
		Short: "Seal all stored secrets with the first key of DATA_KEY",
		Long: "Seal all stored secrets with the first key of DATA_KEY. To change the key: put a new one in front (DATA_KEY=new,old), restart\n" +
			"serve, run this, take the old one away, restart serve. It may be broken off and run again.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := rekey(cmd.Context())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d rows sealed again\n", n)
			return err
		},
	}
}

const listPage = 200

func newAdminListCommand(open openFunc) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the accounts",
		Args:  cobra.NoArgs,
		RunE: withAccounts(open, func(cmd *cobra.Command, s *accounts.Service, _ []string) error {
			out := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			_, _ = fmt.Fprintln(out, "ID\tUSERNAME\tEMAIL\tROLE\tSTATE\tCREATED") // kept by the writer; Flush tells
			for after := accounts.ID(0); ; {
				page, err := s.List(cmd.Context(), after, listPage)
				if err != nil {
					return err
				}
				for _, a := range page {
					writeAccount(out, a)
					after = a.ID
				}
				if len(page) < listPage {
					return out.Flush()
				}
			}
		}),
	}
}

func newAdminRefusedCommand(open openFunc) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "refused-logins",
		Short: "List the latest log-ins that failed",
		Long:  "List the latest log-ins that failed, newest first. They are kept for 30 days; what was typed isn't kept at all.",
		Args:  cobra.NoArgs,
		RunE: withAccounts(open, func(cmd *cobra.Command, s *accounts.Service, _ []string) error {
			list, err := s.RefusedLogins(cmd.Context(), limit)
			if err != nil {
				return err
			}
			out := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			_, _ = fmt.Fprintln(out, "AT\tUSERNAME\tADDRESS") // kept by the writer; Flush tells
			for _, f := range list {
				address := "-"
				if f.IP.IsValid() {
					address = f.IP.String()
				}
				_, _ = fmt.Fprintf(out, "%s\t%s\t%s\n", f.At.UTC().Format(time.RFC3339), cmp.Or(f.Username, "-"), address)
			}
			return out.Flush()
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", listPage, "how many to list")
	return cmd
}

func writeAccount(out io.Writer, a accounts.Account) {
	role, state := "user", "active"
	if a.Admin {
		role = "admin"
	}
	if !a.Active {
		state = "disabled"
	}
	_, _ = fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\n", a.ID, a.Username, a.Email, role, state, a.CreatedAt.UTC().Format(time.RFC3339))
}

// withAccounts opens the accounts around do, and turns domain errors into what an operator reads.
func withAccounts(open openFunc, do func(*cobra.Command, *accounts.Service, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		service, closeAll, err := open(cmd.Context())
		if err != nil {
			return err
		}
		defer closeAll()
		return readable(do(cmd, service, args))
	}
}

// readable keeps the message of an expected error and drops its code; faults stay as they are, with their causes.
func readable(err error) error {
	var e *errs.Error
	if !errors.As(err, &e) || e.Kind == errs.Internal || e.Kind == errs.Unavailable {
		return err
	}
	return errors.New(e.Message)
}

func passwordFlag(cmd *cobra.Command, stdin *bool) {
	cmd.Flags().BoolVar(stdin, "password-stdin", false, "read the password from the first line of standard input instead of making one up")
}

// maxPasswordLine is far above any password, so that a file given by mistake isn't read to its end.
const maxPasswordLine = 4096

// passwordFrom reads one line, or makes a password up.
func passwordFrom(in io.Reader, stdin bool) (secrets.Secret, error) {
	if !stdin {
		return accounts.NewPassword(), nil
	}
	line, err := bufio.NewReader(io.LimitReader(in, maxPasswordLine)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password from standard input: %w", err)
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", errors.New("no password on standard input")
	}
	return secrets.Secret(line), nil
}

// showPassword prints a made-up password, the only time that anybody sees it.
func showPassword(out io.Writer, password secrets.Secret, given bool) error {
	if given {
		return nil
	}
	_, err := fmt.Fprintf(out, "password: %s\n", password.Reveal())
	return err
}
