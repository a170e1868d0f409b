package backuptest

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Drill returns the first block of a language ("sh", "sql") in a section of docs/recovery.md, for tests that do as it says. Names in it are
// replaced in pairs: what the page says, and what it is in the test.
func Drill(t *testing.T, section, language string, names ...string) string {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	page, err := os.ReadFile(filepath.Join(filepath.Dir(file), "..", "..", "..", "docs", "recovery.md")) //nolint:gosec // our own
	require.NoError(t, err)
	_, text, found := strings.Cut(string(page), "\n## "+section+"\n")
	require.True(t, found, "docs/recovery.md has no section %q", section)
	text, _, _ = strings.Cut(text, "\n## ")
	_, text, found = strings.Cut(text, "```"+language+"\n")
	require.True(t, found, "section %q has no block of %s", section, language)
	text, _, _ = strings.Cut(text, "```")
	return strings.NewReplacer(names...).Replace(text)
}
