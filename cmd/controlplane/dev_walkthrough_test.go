package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/config"
)

func TestWalkthrough_IsTheReadmes(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load(map[string]string{"DEBUG": "true"})
	require.NoError(t, err)
	var out bytes.Buffer
	d := &dev{state: &devState{dir: t.TempDir()}, out: &out}
	require.NoError(t, d.printWalkthrough(cfg))
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, commands, found := strings.Cut(out.String(), "it needs curl):\n")
	require.True(t, found)
	for line := range strings.Lines(commands) {
		require.Contains(t, string(readme), strings.TrimPrefix(line, "  "), "the README shows the commands that dev prints")
	}
}
