package edge_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/tenants"
)

// wiretap is an upstream that keeps what it gets byte for byte and answers each connection once.
type wiretap struct {
	upstream
	mu  sync.Mutex
	got []string
}

func newWiretap(t *testing.T) *wiretap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	port := portOf(t, l.Addr().String())
	w := &wiretap{upstream: upstream{address: netip.MustParseAddr("127.0.0.1"), httpPort: port, eventPort: port}}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go w.take(conn)
		}
	}()
	return w
}

// take reads one request by its own rules: a chunked one to its last chunk, another to its Content-Length.
func (w *wiretap) take(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	in := bufio.NewReader(conn)
	var text strings.Builder
	length, chunked := 0, false
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return // the edge gave up before it had sent anything of use
		}
		text.WriteString(line)
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch strings.ToLower(name) {
		case "content-length":
			_, _ = fmt.Sscan(value, &length)
		case "transfer-encoding":
			chunked = true
		}
		if line == "\r\n" {
			break
		}
	}
	if chunked {
		for line := ""; line != "0\r\n"; {
			var err error
			if line, err = in.ReadString('\n'); err != nil {
				break // cut off: no complete request
			}
			text.WriteString(line)
		}
	}
	body := make([]byte, length)
	n, _ := io.ReadFull(in, body)
	text.Write(body[:n])
	w.mu.Lock()
	w.got = append(w.got, text.String())
	w.mu.Unlock()
	_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nodoo")
}

// all returns what has come since the last call.
func (w *wiretap) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	got := w.got
	w.got = nil
	return got
}

const (
	toAcme = " HTTP/1.1\r\nHost: acme.example.test\r\n"
	last   = "Connection: close\r\n\r\n"
	noMore = "0\r\n\r\n"
)

// What two servers could understand in two ways is refused, and nothing of it reaches Odoo.
func TestEdge_RefusesWhatIsAmbiguous(t *testing.T) {
	t.Parallel()
	b := setup(t)
	up := newWiretap(t)
	b.tenant("acme", tenants.Active, &up.upstream)
	b.start()
	for name, text := range map[string]string{
		"two lengths":                 "POST /a" + toAcme + "Content-Length: 6\r\nContent-Length: 5\r\n" + last + "abcdef",
		"a list of lengths":           "POST /a" + toAcme + "Content-Length: 6, 6\r\n" + last + "abcdef",
		"a length with a sign":        "POST /a" + toAcme + "Content-Length: +6\r\n" + last + "abcdef",
		"a negative length":           "POST /a" + toAcme + "Content-Length: -6\r\n" + last + "abcdef",
		"a hexadecimal length":        "POST /a" + toAcme + "Content-Length: 0x6\r\n" + last + "abcdef",
		"an unknown encoding":         "POST /a" + toAcme + "Transfer-Encoding: xchunked\r\n" + last + noMore,
		"two encodings":               "POST /a" + toAcme + "Transfer-Encoding: identity, chunked\r\n" + last + noMore,
		"two encodings in two lines":  "POST /a" + toAcme + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n" + last + noMore,
		"an encoding behind a tab":    "POST /a" + toAcme + "Transfer-Encoding: \x0bchunked\r\n" + last + noMore,
		"a blank before the colon":    "POST /a" + toAcme + "Transfer-Encoding : chunked\r\n" + last + noMore,
		"a blank before the length":   "POST /a" + toAcme + "Content-Length : 3\r\n" + last + "abc",
		"a blank before the first":    "GET /a HTTP/1.1\r\n Host: acme.example.test\r\n" + last,
		"a carriage return alone":     "GET /a" + toAcme + "X: y\rZ: a\r\n" + last,
		"a NUL":                       "GET /a" + toAcme + "X: y\x00z\r\n" + last,
		"a name with a line in it":    "GET /a" + toAcme + "X\rY: z\r\n" + last,
		"a tab for a blank":           "GET\t/a" + toAcme + last,
		"two blanks":                  "GET  /a" + toAcme + last,
		"a blank in the path":         "GET /a b" + toAcme + last,
		"no host":                     "GET /a HTTP/1.1\r\n" + last,
		"two hosts":                   "GET /a" + toAcme + "Host: evil.test\r\n" + last,
		"a host with a user":          "GET /a HTTP/1.1\r\nHost: evil@acme.example.test\r\n" + last,
		"a host with a path":          "GET /a HTTP/1.1\r\nHost: acme.example.test/../evil\r\n" + last,
		"a host with a tab":           "GET /a HTTP/1.1\r\nHost: acme.example.test\tevil.test\r\n" + last,
		"two hosts in one":            "GET /a HTTP/1.1\r\nHost: acme.example.test,evil.test\r\n" + last,
		"an odd expectation":          "POST /a" + toAcme + "Expect: 200-ok\r\nContent-Length: 0\r\n" + last,
		"HTTP/2 without saying so":    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"HTTP/0.9":                    "GET /a\r\n\r\n",
		"many headers":                "GET /a" + toAcme + strings.Repeat("A: b\r\n", 20_000) + last,
		"a long header":               "GET /a" + toAcme + "A: " + strings.Repeat("b", 64<<10) + "\r\n" + last,
		"a long path":                 "GET /" + strings.Repeat("a", 64<<10) + toAcme + last,
		"a long query":                "GET /?" + strings.Repeat("a", 64<<10) + toAcme + last,
		"a long name":                 "GET /a" + toAcme + strings.Repeat("A", 64<<10) + ": b\r\n" + last,
		"an encoding behind a length": "POST /a" + toAcme + "Content-Length: 5\r\nTransfer-Encoding: chunked, x\r\n" + last + noMore,
	} {
		answer := b.raw(text)
		require.Regexp(t, `^(HTTP/1\.[01] (400|417|421|431|501|505) |$)`, answer, name)
		require.Empty(t, up.all(), name)
	}
	// These show only while the body comes in: Odoo may have got the beginning, never an end.
	for name, body := range map[string]string{
		"a negative chunk": "-3\r\nabc\r\n" + noMore, "a chunk without a number": "x\r\nabc\r\n" + noMore, "lines that end in LF alone": "3\nabc\n0\n\n",
		"an extension with a line in it": "3;a\nb\r\nabc\r\n" + noMore, "a chunk that is longer than it says": "3\r\nabcdef\r\n" + noMore,
		"a chunk of too many digits": "00000000000000000000000000000003\r\nabc\r\n" + noMore,
	} {
		answer := b.raw("POST /a" + toAcme + "Transfer-Encoding: chunked\r\n" + last + body)
		require.Regexp(t, `^HTTP/1\.1 400 `, answer, name)
		for _, got := range up.all() {
			require.NotContains(t, got, noMore, name)
		}
	}
}

// What Go's server repairs reaches Odoo in one way only, and what was hidden behind it passes the gate like any other request.
func TestEdge_PassesOnOneWellFormedRequest(t *testing.T) {
	t.Parallel()
	b := setup(t)
	up := newWiretap(t)
	b.tenant("acme", tenants.Active, &up.upstream)
	b.start()
	hidden := "GET /web/database/manager" + toAcme + last
	for name, test := range map[string]struct{ text, framing string }{
		"a length and chunks":         {"POST /a" + toAcme + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n" + noMore + hidden, "Transfer-Encoding: chunked"},
		"chunks and a length":         {"POST /a" + toAcme + "Transfer-Encoding: chunked\r\nContent-Length: 500\r\n\r\n" + noMore + hidden, "Transfer-Encoding: chunked"},
		"HTTP/1.0 with both":          {"POST /a HTTP/1.0\r\nHost: acme.example.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + noMore + hidden, "Content-Length: 5"},
		"one length twice":            {"POST /a" + toAcme + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc" + hidden, "Content-Length: 3"},
		"a GET with a body":           {"GET /a" + toAcme + "Content-Length: 3\r\n\r\nabc" + hidden, "Content-Length: 3"},
		"a folded header":             {"POST /a" + toAcme + "X-A: b\r\n Content-Length: 500\r\nContent-Length: 3\r\n\r\nabc" + hidden, "Content-Length: 3"},
		"a folded encoding":           {"POST /a" + toAcme + "Transfer-Encoding:\r\n chunked\r\n\r\n" + noMore + hidden, "Transfer-Encoding: chunked"},
		"lines that end in LF":        {"POST /a HTTP/1.1\nHost: acme.example.test\nContent-Length: 3\n\nabc" + hidden, "Content-Length: 3"},
		"an upgrade to HTTP/2":        {"GET /a" + toAcme + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n" + hidden, ""},
		"headers named as the hop's":  {"GET /a" + toAcme + "Connection: X-Forwarded-For, X-Forwarded-Proto, Host\r\n\r\n" + hidden, ""},
		"headers behind the body":     {"POST /a" + toAcme + "Transfer-Encoding: chunked\r\nTrailer: X-Odoo-Database\r\n\r\n0\r\nX-Odoo-Database: evil\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n" + hidden, "Transfer-Encoding: chunked"},
		"two requests in one go":      {"GET /a" + toAcme + "\r\n" + hidden, ""},
		"another host in the address": {"GET http://acme.example.test/a HTTP/1.1\r\nHost: evil.test\r\n\r\n" + hidden, ""},
	} {
		answers := b.raw(test.text)
		got := up.all()
		require.Len(t, got, 1, name)
		head, _, _ := strings.Cut(got[0], "\r\n\r\n")
		require.Regexp(t, `^(GET|POST) /a HTTP/1\.1\r\n`, head, name)
		require.Equal(t, 1, strings.Count(head, "\r\nHost: acme.example.test"), name)
		require.Equal(t, 1, strings.Count(head, "\r\nX-Forwarded-For: 127.0.0.1"), name)
		require.Equal(t, 1, strings.Count(head, "\r\nX-Forwarded-Proto: http"), name)
		framing := 0
		for line := range strings.SplitSeq(head, "\r\n") {
			require.NotRegexp(t, `^[ \t]|^(Upgrade|Trailer|HTTP2-Settings|X-Odoo-Database):`, line, name)
			if strings.HasPrefix(line, "Content-Length:") || strings.HasPrefix(line, "Transfer-Encoding:") {
				require.Equal(t, test.framing, line, name)
				framing++
			}
		}
		require.Equal(t, min(len(test.framing), 1), framing, name)
		require.NotContains(t, got[0], "evil", name)
		require.NotContains(t, got[0], "6.6.6.6", name)
		require.NotContains(t, got[0], "/web/database", name)
		require.Regexp(t, `^HTTP/1\.[01] 200 `, answers, name)
		require.LessOrEqual(t, strings.Count(answers, " 200 OK"), 1, "%s: what was hidden is refused, or was never looked at", name)
	}
}
