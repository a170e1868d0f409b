package main

import (
	"github.com/spf13/cobra"

	"controlplane/internal/provision/netguard"
)

// newNetguardCommand is hidden: the container engine runs it, in a container that the provisioner makes. It parses its own flags, as its
// package is to stay free of all that the rest of the binary links.
func newNetguardCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "netguard",
		Short:              "Keep the host's firewall rules for the tenants' networks in force",
		Hidden:             true,
		DisableFlagParsing: true,
		SilenceUsage:       true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return netguard.Command(cmd.Context(), args, cmd.OutOrStdout())
		},
	}
}
