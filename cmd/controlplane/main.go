// Command controlplane is the multi-tenant Odoo hosting control plane: API, workers, edge and operator commands in one binary.
// This package only wires; rules live under internal.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "dev" //nolint:gochecknoglobals // set with -ldflags -X

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newRootCommand().ExecuteContext(ctx)
	stop()
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		os.Exit(1)
	}
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "controlplane",
		Short:         "Multi-tenant Odoo hosting: sign-up to a paid, running Odoo",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(
		newServeCommand(), newEdgeCommand(), newMigrateCommand(),
		newAdminCommand(openAccounts, newAdminRekeyCommand(rekey), newAdminAuditCommand(verifyAudit), newAdminOrphansCommand(listOrphans),
			newAdminWebhookCommand(replayEvents), newAdminBillingCommand(backfill), newAdminEdgesCommand(openEdges)),
		newCertCommand(openCertificates), newBackupCommand(openVault, runBackup, restoreInPlace, tryBackup), newDevCommand(), newSimulatorCommand(), newNetguardCommand(),
	)
	return root
}
