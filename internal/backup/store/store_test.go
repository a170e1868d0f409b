package store_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/backup/s3test"
	"controlplane/internal/backup/store"
)

type bundle struct {
	*store.Store
	server *s3test.Server
}

func setup(t *testing.T, change ...func(*store.Options)) *bundle {
	t.Helper()
	server := s3test.New(t)
	return &bundle{Store: open(t, server, change...), server: server}
}

func open(t *testing.T, s *s3test.Server, change ...func(*store.Options)) *store.Store {
	t.Helper()
	o := store.Options{Endpoint: s.Endpoint, Bucket: s.Bucket, AccessKey: s.AccessKey, SecretKey: s.SecretKey}
	for _, c := range change {
		c(&o)
	}
	opened, err := store.New(o)
	require.NoError(t, err)
	return opened
}

func noise(n int) []byte {
	out := make([]byte, n)
	_, _ = rand.Read(out)
	return out
}

func (b *bundle) content(t *testing.T, key string) []byte {
	t.Helper()
	r, err := b.Get(t.Context(), key)
	require.NoError(t, err)
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return got
}

func (b *bundle) keys(t *testing.T, prefix string) []string {
	t.Helper()
	var keys []string
	require.NoError(t, b.List(t.Context(), prefix, func(o backup.Object) error {
		keys = append(keys, o.Key)
		return nil
	}))
	return keys
}

func TestStore_KeepsAndGivesBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, content := range map[string][]byte{"empty": nil, "small": noise(100), "parts": noise(19 << 20)} {
		require.NoError(t, b.Put(t.Context(), "clients/acme/"+name, iotest.HalfReader(bytes.NewReader(content)), 0))
		require.True(t, bytes.Equal(content, b.content(t, "clients/acme/"+name)), name)
	}
	require.NoError(t, b.Put(t.Context(), "clients/acme-2/x", strings.NewReader("x"), 0))
	require.Equal(t, []string{"clients/acme/empty", "clients/acme/parts", "clients/acme/small"}, b.keys(t, "clients/acme/"))
	for range 2 {
		require.NoError(t, b.Remove(t.Context(), "clients/acme/small"))
	}
	require.Equal(t, []string{"clients/acme/empty", "clients/acme/parts"}, b.keys(t, "clients/acme/"))
	_, err := b.Get(t.Context(), "clients/acme/small")
	require.ErrorIs(t, err, backup.ErrObjectMissing)
}

func TestPut_LeavesNothingOfWhatItCouldNotRead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	broken := errors.New("the dump broke off")
	for _, n := range []int{100, 20 << 20} {
		err := b.Put(t.Context(), "a/b", io.MultiReader(bytes.NewReader(noise(n)), iotest.ErrReader(broken)), 0)
		require.ErrorIs(t, err, broken)
	}
	require.Empty(t, b.keys(t, "a/"))
	aborted, err := b.AbortUploads(t.Context(), "", time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.Zero(t, aborted)
}

// A process that is killed leaves its parts behind: nothing else would ever remove them.
func TestAbortUploads_FreesWhatAKilledProcessLeft(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	begun := make(chan struct{})
	ended := make(chan error, 1)
	r, w := io.Pipe()
	go func() {
		_, _ = w.Write(noise(17 << 20))
		close(begun)
	}()
	go func() { ended <- b.Put(ctx, "clients/acme/1/x", r, 0) }()
	<-begun
	// A server that is gone can't be told that the upload is given up.
	b.server.Stop()
	cancel()
	require.NoError(t, w.CloseWithError(io.ErrClosedPipe))
	require.Error(t, <-ended)
	b.server.Start(t)
	aborted, err := b.AbortUploads(t.Context(), "clients/", time.Now().Add(-time.Hour))
	require.NoError(t, err)
	require.Zero(t, aborted, "it may still be going on")
	aborted, err = b.AbortUploads(t.Context(), "clients/", time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, 1, aborted)
	require.Empty(t, b.keys(t, ""))
}

func TestStore_SaysWhoIsToBlame(t *testing.T) {
	t.Parallel()
	b := setup(t)
	try := func(s *store.Store) error { return s.Put(t.Context(), "x", strings.NewReader("x"), 0) }
	require.ErrorIs(t, try(open(t, b.server, func(o *store.Options) { o.SecretKey = "wrong" })), backup.ErrStoreRefused)
	require.ErrorIs(t, try(open(t, b.server, func(o *store.Options) { o.AccessKey = "nobody" })), backup.ErrStoreRefused)
	require.ErrorIs(t, try(open(t, b.server, func(o *store.Options) { o.Bucket = "another" })), backup.ErrStoreRefused)
	full := &bundle{server: s3test.NewOnDisk(t, 12<<20)}
	full.Store = open(t, full.server)
	require.ErrorIs(t, full.Put(t.Context(), "x/large", bytes.NewReader(noise(18<<20)), 0), backup.ErrStoreFull)
	require.Empty(t, full.keys(t, ""))
	require.NoError(t, full.Put(t.Context(), "x/small", bytes.NewReader(noise(4<<20)), 0), "the parts of the other one take no space any more")
	b.server.Stop()
	err := try(b.Store)
	require.ErrorIs(t, err, backup.ErrStoreUnreachable)
	require.NotContains(t, err.Error(), b.server.SecretKey.Reveal())
}

// Where clocks differ by more than the server bears, ours is taken to be wrong by as much as its answer says. In this test it is 2000.
func TestStore_BearsAClockThatIsWrong(t *testing.T) {
	t.Parallel()
	server := s3test.New(t)
	content := noise(9 << 20)
	synctest.Test(t, func(t *testing.T) {
		require.Equal(t, 2000, time.Now().Year())
		b := &bundle{Store: open(t, server), server: server}
		require.NoError(t, b.Put(t.Context(), "a/b", bytes.NewReader(content), 0))
		require.True(t, bytes.Equal(content, b.content(t, "a/b")))
		require.Equal(t, []string{"a/b"}, b.keys(t, "a/"))
		server.Stop() // which ends the connections, and with them what the client does in this bubble
	})
}

// Where the answer doesn't tell the time, it is we who are refused, and not the network that is down.
func TestStore_TellsOfAClockThatStaysWrong(t *testing.T) {
	t.Parallel()
	timeless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Date"] = nil
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference is too large.</Message></Error>")
	}))
	t.Cleanup(timeless.Close)
	s, err := store.New(store.Options{Endpoint: timeless.URL, Bucket: "backups", AccessKey: "tests", SecretKey: "tests"})
	require.NoError(t, err)
	err = s.Put(t.Context(), "x", strings.NewReader("x"), 0)
	require.ErrorIs(t, err, backup.ErrStoreRefused)
	require.ErrorContains(t, err, "RequestTimeTooSkewed")
}

// A server that came before 2025, or isn't the vendor's, refuses the newer checksum headers.
func TestStore_SendsNoNewerChecksums(t *testing.T) {
	t.Parallel()
	server := s3test.New(t)
	target, err := url.Parse(server.Endpoint)
	require.NoError(t, err)
	var refused atomic.Int64
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
	}}
	picky := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name := range r.Header {
			if strings.HasPrefix(name, "X-Amz-Checksum") || strings.HasPrefix(name, "X-Amz-Sdk-Checksum") || name == "X-Amz-Trailer" {
				refused.Add(1)
				w.WriteHeader(http.StatusNotImplemented)
				return
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(picky.Close)
	b := &bundle{Store: open(t, server, func(o *store.Options) { o.Endpoint = picky.URL }), server: server}
	content := noise(9 << 20)
	require.NoError(t, b.Put(t.Context(), "a", bytes.NewReader(content), 0))
	require.NoError(t, b.Put(t.Context(), "b", strings.NewReader("b"), 0))
	require.True(t, bytes.Equal(content, b.content(t, "a")))
	require.Equal(t, []string{"a", "b"}, b.keys(t, ""))
	require.NoError(t, b.Remove(t.Context(), "a"))
	require.Zero(t, refused.Load())
}

func TestGet_GoesOnWhereTheConnectionWasLost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	content := noise(5 << 20)
	require.NoError(t, b.Put(t.Context(), "x", bytes.NewReader(content), 0))
	for name, then := range map[string]func(){"cut": nil, "stalled": func() { <-t.Context().Done() }} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			line := b.server.Line(t)
			line.Break(s3test.Down, 1<<20, then)
			lossy := open(t, b.server, func(o *store.Options) {
				o.Endpoint = line.Endpoint
				o.StallAfter = time.Second
			})
			through := &bundle{Store: lossy, server: b.server}
			require.True(t, bytes.Equal(content, through.content(t, "x")))
		})
	}
}

// What is replaced on the way isn't pieced together.
func TestGet_NeverMixesTwoObjects(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.Put(t.Context(), "x", bytes.NewReader(noise(5<<20)), 0))
	replaced := make(chan struct{})
	line := b.server.Line(t)
	line.Break(s3test.Down, 1<<20, func() { <-replaced })
	lossy := open(t, b.server, func(o *store.Options) { o.Endpoint = line.Endpoint })
	r, err := lossy.Get(t.Context(), "x")
	require.NoError(t, err)
	require.NoError(t, b.Put(t.Context(), "x", bytes.NewReader(noise(5<<20)), 0))
	close(replaced)
	_, err = io.Copy(io.Discard, r)
	require.Error(t, err)
	require.NoError(t, r.Close())
}

// A server, or something before it, may give all of an object whatever part is asked for: that is no damage to the object.
func TestGet_RefusesAnotherPartThanItAskedFor(t *testing.T) {
	t.Parallel()
	content := noise(2 << 20)
	deaf := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"one"`)
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content[:1<<20])
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(deaf.Close)
	s, err := store.New(store.Options{Endpoint: deaf.URL, Bucket: "backups", AccessKey: "tests", SecretKey: "tests"})
	require.NoError(t, err)
	r, err := s.Get(t.Context(), "x")
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, r)
	require.ErrorIs(t, err, backup.ErrStoreRefused)
	require.LessOrEqual(t, n, int64(1<<20))
	require.NoError(t, r.Close())
}

func TestServer_KeepsObjectsAsFiles(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.Put(t.Context(), "a/b", strings.NewReader("seen"), 0))
	text, err := os.ReadFile(filepath.Join(b.server.Dir, "a", "b"))
	require.NoError(t, err)
	require.Equal(t, "seen", string(text))
}
