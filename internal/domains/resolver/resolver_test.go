package resolver_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"controlplane/internal/domains"
	"controlplane/internal/domains/resolver"
)

// server is a real name server on loopback whose zone a test writes.
type server struct {
	address string
	queries atomic.Int64

	mu      sync.Mutex
	records []dns.RR
	rcode   int
	whole   bool // gives a chain of aliases at once, as a recursive server does
}

func newServer(t *testing.T, records ...string) *server {
	t.Helper()
	s := &server{}
	for _, text := range records {
		rr, err := dns.NewRR(text)
		require.NoError(t, err)
		s.records = append(s.records, rr)
	}
	packets, streams := listenOnBoth(t)
	s.address = packets.LocalAddr().String()
	for _, d := range []*dns.Server{{PacketConn: packets, Handler: s}, {Listener: streams, Handler: s}} {
		started := make(chan struct{})
		d.NotifyStartedFunc = func() { close(started) }
		go func() { _ = d.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = d.Shutdown() })
	}
	return s
}

// listenOnBoth takes a port that is free for both protocols; the first that is offered for the one may be in use for the other.
func listenOnBoth(t *testing.T) (packets net.PacketConn, streams net.Listener) {
	t.Helper()
	for range 50 {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		require.NoError(t, err)
		streams, err := net.Listen("tcp", packets.LocalAddr().String())
		if err == nil {
			return packets, streams
		}
		require.NoError(t, packets.Close())
	}
	require.FailNow(t, "no port is free for both protocols")
	return nil, nil
}

func (s *server) ServeDNS(w dns.ResponseWriter, question *dns.Msg) {
	s.queries.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := new(dns.Msg).SetRcode(question, s.rcode)
	name, kind := dns.CanonicalName(question.Question[0].Name), question.Question[0].Qtype
	for range 20 {
		next := ""
		for _, rr := range s.records {
			if dns.CanonicalName(rr.Header().Name) != name {
				continue
			}
			if alias, ok := rr.(*dns.CNAME); ok {
				next = dns.CanonicalName(alias.Target)
			}
			if rr.Header().Rrtype == kind || next != "" {
				answer.Answer = append(answer.Answer, rr)
			}
		}
		if next == "" || !s.whole {
			break
		}
		name = next
	}
	if len(answer.Answer) == 0 && s.rcode == dns.RcodeSuccess {
		answer.Rcode = dns.RcodeNameError
	}
	if w.LocalAddr().Network() == "udp" {
		answer.Truncate(1232)
	}
	_ = w.WriteMsg(answer)
}

func newResolver(t *testing.T, servers ...string) *resolver.Resolver {
	t.Helper()
	r, err := resolver.New(servers)
	require.NoError(t, err)
	return r
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, whole := range []bool{false, true} {
		s := newServer(t,
			"a.example. A 192.0.2.1", "a.example. A 192.0.2.2", "a.example. AAAA 2001:db8::1",
			"b.example. CNAME c.example.", "C.example. CNAME a.example.", "dangling.example. CNAME nowhere.example.")
		s.whole = whole
		r := newResolver(t, s.address)
		want := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::1")}
		for _, name := range []string{"a.example", "A.Example.", "b.example"} {
			got, err := r.Addresses(t.Context(), name)
			require.NoError(t, err)
			require.Equal(t, want, got, name)
		}
		for _, name := range []string{"nowhere.example", "dangling.example"} {
			got, err := r.Addresses(t.Context(), name)
			require.NoError(t, err, "nothing there is an answer")
			require.Empty(t, got, name)
		}
	}
}

func TestTXT_IsPutTogetherAndComesOverTCPWhenLong(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 200)
	s := newServer(t, `t.example. TXT "one " "text"`, `t.example. TXT "another"`, "alias.example. CNAME t.example.")
	for i := range 20 {
		rr, err := dns.NewRR(`long.example. TXT "` + string(rune('a'+i)) + long + `"`)
		require.NoError(t, err)
		s.records = append(s.records, rr)
	}
	r := newResolver(t, s.address)
	for _, name := range []string{"t.example", "alias.example"} {
		got, err := r.TXT(t.Context(), name)
		require.NoError(t, err)
		require.ElementsMatch(t, []string{"one text", "another"}, got)
	}
	got, err := r.TXT(t.Context(), "long.example")
	require.NoError(t, err)
	require.Len(t, got, 20)
}

func TestAliasesThatLeadNowhere(t *testing.T) {
	t.Parallel()
	s := newServer(t, "a.example. CNAME b.example.", "b.example. CNAME a.example.", "self.example. CNAME self.example.")
	for i := range 12 {
		rr, err := dns.NewRR(string(rune('a'+i)) + ".chain. CNAME " + string(rune('b'+i)) + ".chain.")
		require.NoError(t, err)
		s.records = append(s.records, rr)
	}
	r := newResolver(t, s.address)
	for _, name := range []string{"a.example", "self.example", "a.chain"} {
		_, err := r.Addresses(t.Context(), name)
		require.ErrorIs(t, err, domains.ErrAliases, name)
	}
	require.Less(t, s.queries.Load(), int64(60))
}

func TestServersThatDontAnswer(t *testing.T) {
	t.Parallel()
	broken, fine := newServer(t), newServer(t, "a.example. A 192.0.2.1")
	broken.rcode = dns.RcodeServerFailure
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })

	got, err := newResolver(t, broken.address, fine.address).Addresses(t.Context(), "a.example")
	require.NoError(t, err)
	require.Len(t, got, 1)
	_, err = newResolver(t, broken.address).Addresses(t.Context(), "a.example")
	require.ErrorIs(t, err, domains.ErrNoAnswer, "a failure isn't the same as nothing")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = newResolver(t, silent.LocalAddr().String()).TXT(ctx, "a.example")
	require.ErrorIs(t, err, domains.ErrNoAnswer)
	require.Less(t, time.Since(began), 10*time.Second)
}

func TestNew(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "ns.example.com", "1.2.3.4:x", "1.2.3.4:99999"} {
		_, err := resolver.New([]string{bad})
		require.Error(t, err, bad)
	}
	for _, good := range []string{"9.9.9.9", "2620:fe::fe", "[2620:fe::fe]:53", "127.0.0.1:5353"} {
		_, err := resolver.New([]string{good})
		require.NoError(t, err, good)
	}
	_, err := resolver.New(nil)
	require.NoError(t, err, "the system's")
}
