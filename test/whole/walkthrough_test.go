package whole_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/secrets"
)

// TestReadme follows the README's walk-through to the letter, but for the address of the API and the instance's name, which somebody
// who followed it by hand on the same engine has taken, and logs in with what it shows.
func TestReadme(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(readme), "## Walk-through")
	require.True(t, found)
	_, rest, found = strings.Cut(rest, "```sh\n")
	require.True(t, found)
	script, _, _ := strings.Cut(rest, "```")
	require.Contains(t, script, "api=http://127.0.0.1:8001/api\n")
	name := "readme" + secrets.RandomHex(4)
	script = strings.NewReplacer("http://127.0.0.1:8001", shared.API, "acme", name).Replace(script)

	ctx, cancel := context.WithTimeout(t.Context(), activeTimeout) // it waits for the client to be active
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-eu", "-c", script)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	credentials := decode(t, lines[len(lines)-1])
	require.Equal(t, "ada@example.com", credentials["login"])
	_, err = visit(t, name).login(name, credentials["login"].(string), credentials["password"].(string))
	require.NoError(t, err)
}
