package whole_test

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"controlplane/internal/secrets"
	"controlplane/test/harness"
)

// nameServer is the DNS that the platform under test asks about clients' own domains.
type nameServer struct {
	address string

	mu      sync.Mutex
	records map[string]dns.RR // by name and type
}

// newNameServer runs until the process ends.
func newNameServer() (*nameServer, error) {
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &nameServer{address: packets.LocalAddr().String(), records: map[string]dns.RR{}}
	go func() { _ = (&dns.Server{PacketConn: packets, Handler: s}).ActivateAndServe() }()
	return s, nil
}

func (s *nameServer) ServeDNS(w dns.ResponseWriter, question *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := new(dns.Msg).SetReply(question)
	if rr, ok := s.records[dns.CanonicalName(question.Question[0].Name)+dns.TypeToString[question.Question[0].Qtype]]; ok {
		answer.Answer = []dns.RR{rr}
	}
	_ = w.WriteMsg(answer)
}

func (s *nameServer) set(t *testing.T, name, kind, value string) {
	t.Helper()
	rr, err := dns.NewRR(dns.CanonicalName(name) + " 60 IN " + kind + " " + value)
	require.NoError(t, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[dns.CanonicalName(name)+kind] = rr
}

// A client gets a domain of its own by nothing but its DNS, works under it, and gives it up.
func TestOwnDomain(t *testing.T) {
	t.Parallel()
	c := signUp(t)
	name := c.provision("basic")
	login, password := c.credentials(name)
	domain := "erp." + secrets.RandomHex(4) + ".example.com"
	routes := "/api/clients/" + name + "/domains"
	own := visit(t, name)
	own.host = domain
	status := func() int {
		status, _ := own.do(own.request(http.MethodGet, "/web/health", nil))
		return status
	}
	baseURL := func(o *odoo) any {
		got, err := o.login(name, login, password)
		require.NoError(t, err)
		return got["web.base.url"]
	}
	port := ":" + harness.Port(strings.TrimPrefix(shared.Edge, "http://"))

	added := c.call(http.MethodPost, routes+"?domain="+url.QueryEscape(strings.ToUpper(domain)), nil, http.StatusOK)
	require.Equal(t, domain, added["domain"])
	require.Equal(t, http.StatusMisdirectedRequest, status())
	for _, record := range added["details"].(map[string]any)["records"].([]any) {
		r := record.(map[string]any)
		if r["type"] == "TXT" {
			names.set(t, r["name"].(string), "TXT", `"`+r["value"].(string)+`"`)
		}
	}
	names.set(t, domain, "A", "127.0.0.1")
	require.Equal(t, "live", c.call(http.MethodPost, routes+"/"+domain+"/verify", nil, http.StatusOK)["status"])
	require.Eventually(t, func() bool { return status() == http.StatusOK }, activeTimeout, tick)
	require.Equal(t, "http://"+name+".localhost"+port, baseURL(own))

	c.change(http.MethodPost, routes+"/"+domain+"/primary", nil)
	require.Eventually(t, func() bool { return baseURL(own) == "http://"+domain+port }, activeTimeout, tick)

	c.call(http.MethodDelete, routes+"/"+domain, nil, http.StatusOK)
	require.Eventually(t, func() bool { return status() == http.StatusMisdirectedRequest }, activeTimeout, tick)
	require.Eventually(t, func() bool { return baseURL(visit(t, name)) == "http://"+name+".localhost"+port }, activeTimeout, tick)
}
