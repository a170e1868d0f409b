package edge

import (
	"compress/gzip"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRotated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "access.log")
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	file := func() *rotated {
		return &rotated{path: path, keep: 14 * 24 * time.Hour, largest: 100, now: func() time.Time { return now }}
	}
	names := func() []string {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		var list []string
		for _, e := range entries {
			list = append(list, e.Name())
		}
		return list
	}
	ours, theirs := file(), file()
	require.NoError(t, ours.write([]byte("ours\n")))
	require.NoError(t, theirs.write([]byte("theirs\n")))
	require.NoError(t, ours.flush())
	require.NoError(t, theirs.flush())
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "ours\ntheirs\n", string(text), "two processes may write")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "access.log.notes"), nil, 0o600)) // somebody else's

	now = now.Add(24 * time.Hour)
	require.NoError(t, ours.flush())
	require.NoError(t, theirs.write([]byte("late\n")))
	require.NoError(t, theirs.flush(), "it goes where the file went, and then to the new one")
	require.NoError(t, theirs.write([]byte("new\n")))
	require.NoError(t, theirs.flush())
	require.Len(t, names(), 3)
	text, err = os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "new\n", string(text))

	require.NoError(t, theirs.write(make([]byte, 200)))
	now = now.Add(time.Second)
	require.NoError(t, theirs.flush(), "it is too large")
	list := names()
	require.Len(t, list, 3, "the one before the latest is compressed, and so are those before: %v", list)
	zipped, err := filepath.Glob(filepath.Join(dir, "*.gz"))
	require.NoError(t, err)
	require.Len(t, zipped, 1)
	in, err := os.Open(zipped[0])
	require.NoError(t, err)
	defer func() { _ = in.Close() }()
	unzip, err := gzip.NewReader(in)
	require.NoError(t, err)
	text, err = io.ReadAll(unzip)
	require.NoError(t, err)
	require.Equal(t, "ours\ntheirs\nlate\n", string(text), "nothing was lost")

	for range 16 {
		now = now.Add(24 * time.Hour)
		require.NoError(t, theirs.write([]byte("x\n")))
		require.NoError(t, theirs.flush())
		now = now.Add(time.Second)
		require.NoError(t, theirs.flush())
	}
	require.NoFileExists(t, zipped[0], "fourteen days are enough")
	require.FileExists(t, filepath.Join(dir, "access.log.notes"))
	require.NoError(t, theirs.close())
	require.NoError(t, ours.close())
}

func TestLimiter(t *testing.T) {
	t.Parallel()
	l := newLimiter()
	now := time.Unix(1e9, 0)
	address := netip.MustParseAddr("192.0.2.1")
	for range limitBurst {
		require.Zero(t, l.take(address, now))
	}
	require.Equal(t, 100*time.Millisecond, l.take(address, now))
	require.Equal(t, 100*time.Millisecond, l.take(netip.MustParseAddr("::ffff:192.0.2.1"), now), "the same, written otherwise")
	require.Zero(t, l.take(address, now.Add(100*time.Millisecond)))
	require.Positive(t, l.take(address, now.Add(150*time.Millisecond)), "a refused call doesn't count, but the allowed one did")
	allowed := 0
	for i := range 1000 { // a hundred calls a second for ten seconds
		if l.take(address, now.Add(time.Minute+time.Duration(i)*10*time.Millisecond)) == 0 {
			allowed++
		}
	}
	require.InDelta(t, limitBurst+100, allowed, 2)
	require.Zero(t, l.take(netip.Addr{}, now))

	for i := range 400_000 {
		l.take(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now)
	}
	total := 0
	for i := range l.shards {
		total += len(l.shards[i].full)
	}
	require.LessOrEqual(t, total, limiterShards*addressesByShard, "memory is bounded")
}
