package docker

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/provision"
)

func TestLogs_LastLinesOfBothStreams(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.container("odoo", "print", "30", "0")
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	require.NoError(t, b.StartContainer(t.Context(), c.Name))
	within(t, 10*time.Second, "it ends", func() bool { return !b.inspect(t, c.Name).State.Running })
	var lines []provision.LogLine
	collect := func(l provision.LogLine) error {
		lines = append(lines, l)
		return nil
	}
	require.NoError(t, b.ContainerLogs(t.Context(), c.Name, provision.LogQuery{Tail: 3}, collect))
	require.Len(t, lines, 3)
	require.Equal(t, "line 28", lines[0].Text)
	require.Equal(t, "line 30", lines[2].Text)
	require.Equal(t, "stdout", lines[0].Stream)
	require.WithinDuration(t, time.Now(), lines[0].At, time.Minute)

	boom := errors.New("boom")
	require.ErrorIs(t, b.ContainerLogs(t.Context(), c.Name, provision.LogQuery{Tail: 3}, func(provision.LogLine) error { return boom }), boom)

	failing := b.container("failing", "no-such-command")
	require.NoError(t, b.EnsureContainer(t.Context(), failing))
	require.NoError(t, b.StartContainer(t.Context(), failing.Name))
	within(t, 10*time.Second, "it ends", func() bool { return !b.inspect(t, failing.Name).State.Running })
	lines = nil
	require.NoError(t, b.ContainerLogs(t.Context(), failing.Name, provision.LogQuery{Tail: 3}, collect))
	require.Len(t, lines, 1)
	require.Equal(t, "stderr", lines[0].Stream)

	lines = nil
	require.NoError(t, b.ContainerLogs(t.Context(), b.name("nobody"), provision.LogQuery{Tail: 3}, collect))
	require.Empty(t, lines)
}

func TestLogs_Follow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.container("odoo", "print", "2", "0", "700")
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	require.NoError(t, b.StartContainer(t.Context(), c.Name))
	var texts []string
	err := b.ContainerLogs(t.Context(), c.Name, provision.LogQuery{Tail: 10, Follow: true}, func(l provision.LogLine) error {
		texts = append(texts, l.Text)
		return nil
	})
	require.NoError(t, err, "it ends with the container")
	require.Equal(t, []string{"line 1", "line 2"}, texts)

	serving := b.container("serving", "serve")
	require.NoError(t, b.EnsureContainer(t.Context(), serving))
	require.NoError(t, b.StartContainer(t.Context(), serving.Name))
	ctx, cancel := context.WithCancel(t.Context())
	err = b.ContainerLogs(ctx, serving.Name, provision.LogQuery{Tail: 10, Follow: true}, func(provision.LogLine) error {
		cancel()
		return nil
	})
	require.ErrorIs(t, err, context.Canceled)
}

func TestLineWriter(t *testing.T) {
	t.Parallel()
	const stamp = "2026-03-01T12:00:00.000000001Z "
	long := strings.Repeat("x", 3*maxLineBytes)
	tests := map[string]struct {
		writes []string
		want   []string
	}{
		"one line in two writes": {[]string{stamp + "he", "llo\n"}, []string{"hello"}},
		"two lines in one write": {[]string{stamp + "a\n" + stamp + "b\n"}, []string{"a", "b"}},
		"no end":                 {[]string{stamp + "a"}, []string{"a"}},
		"carriage return":        {[]string{stamp + "a\r\n"}, []string{"a"}},
		"empty line":             {[]string{stamp + "\n"}, []string{""}},
		"broken text":            {[]string{stamp + "a\xff\n"}, []string{"a�"}},
		"no time":                {[]string{"hello world\n"}, []string{"hello world"}},
		"endless":                {[]string{stamp + long, long, "\n" + stamp + "b\n"}, []string{long[:maxLineBytes-len(stamp)], "b"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			w := lineWriter{stream: "stderr", line: func(l provision.LogLine) error {
				got = append(got, l.Text)
				return nil
			}}
			for _, text := range tt.writes {
				n, err := w.Write([]byte(text))
				require.NoError(t, err)
				require.Equal(t, len(text), n)
			}
			require.LessOrEqual(t, w.rest.Cap(), 4*maxLineBytes)
			require.NoError(t, w.flush())
			require.Equal(t, tt.want, got)
			require.NotContains(t, strings.Join(got, ""), "\n")
		})
	}
}
