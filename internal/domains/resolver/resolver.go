// Package resolver asks name servers about domains: those of the settings, or else the system's. It asks them itself rather than through the
// system's resolver, which would also believe its hosts file and search list, and which can't tell a name without records from servers that
// don't answer.
package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"controlplane/internal/domains"
)

const (
	queryTimeout = 2 * time.Second
	rounds       = 2 // through all servers
	maxAliases   = 8
	udpSize      = 1232
)

// Resolver is a domains.Resolver. It remembers nothing; name servers do.
type Resolver struct {
	servers []string
	timeout time.Duration
}

var _ domains.Resolver = (*Resolver)(nil)

// New returns a Resolver that asks servers ("9.9.9.9" or "127.0.0.1:5353") in this order; none are the system's.
func New(servers []string) (*Resolver, error) {
	if len(servers) == 0 {
		system, err := dns.ClientConfigFromFile("/etc/resolv.conf")
		if err != nil {
			return nil, fmt.Errorf("find the system's name servers: %w", err)
		}
		for _, s := range system.Servers {
			servers = append(servers, net.JoinHostPort(s, system.Port))
		}
	}
	r := &Resolver{timeout: queryTimeout}
	for _, s := range servers {
		address, err := serverAddress(s)
		if err != nil {
			return nil, err
		}
		r.servers = append(r.servers, address)
	}
	if len(r.servers) == 0 {
		return nil, errors.New("there is no name server to ask")
	}
	return r, nil
}

func serverAddress(text string) (string, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(a, 53).String(), nil
	}
	if _, err := netip.ParseAddrPort(text); err != nil {
		return "", fmt.Errorf("%q is no address of a name server", text)
	}
	return text, nil
}

// TXT returns the texts of a name, each put together from its parts.
func (r *Resolver) TXT(ctx context.Context, name string) ([]string, error) {
	var texts []string
	err := r.follow(ctx, name, dns.TypeTXT, func(rr dns.RR) {
		if txt, ok := rr.(*dns.TXT); ok {
			texts = append(texts, strings.Join(txt.Txt, ""))
		}
	})
	return texts, err
}

// Addresses returns all A and AAAA of a name.
func (r *Resolver) Addresses(ctx context.Context, name string) ([]netip.Addr, error) {
	var lists [2][]netip.Addr
	g, ctx := errgroup.WithContext(ctx)
	for i, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		g.Go(func() error {
			return r.follow(ctx, name, kind, func(rr dns.RR) {
				var ip net.IP
				switch rr := rr.(type) {
				case *dns.A:
					ip = rr.A
				case *dns.AAAA:
					ip = rr.AAAA
				}
				if a, ok := netip.AddrFromSlice(ip); ok {
					lists[i] = append(lists[i], a.Unmap())
				}
			})
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return append(lists[0], lists[1]...), nil
}

// follow calls found for each record of a kind that a name has, at the end of its aliases. Servers mostly give the whole chain at once; one
// that doesn't is asked again.
func (r *Resolver) follow(ctx context.Context, name string, kind uint16, found func(dns.RR)) error {
	name = dns.CanonicalName(name)
	seen := map[string]bool{}
	for {
		answer, err := r.ask(ctx, name, kind)
		if err != nil {
			return err
		}
		for target, ok := alias(answer, name); ok; target, ok = alias(answer, name) {
			if seen[name] || len(seen) >= maxAliases {
				return domains.ErrAliases.WithCause(fmt.Errorf("after %d aliases at %s", len(seen), name))
			}
			seen[name] = true
			name = target
		}
		records := 0
		for _, rr := range answer.Answer {
			if rr.Header().Rrtype == kind && dns.CanonicalName(rr.Header().Name) == name {
				found(rr)
				records++
			}
		}
		asked := dns.CanonicalName(answer.Question[0].Name)
		if records > 0 || asked == name {
			return nil
		}
	}
}

func alias(answer *dns.Msg, name string) (string, bool) {
	for _, rr := range answer.Answer {
		if c, ok := rr.(*dns.CNAME); ok && dns.CanonicalName(c.Hdr.Name) == name {
			return dns.CanonicalName(c.Target), true
		}
	}
	return "", false
}

// ask returns the first answer that says something: records, or that there are none.
func (r *Resolver) ask(ctx context.Context, name string, kind uint16) (*dns.Msg, error) {
	question := new(dns.Msg).SetQuestion(name, kind)
	question.SetEdns0(udpSize, false)
	var failures []error
	for range rounds {
		for _, server := range r.servers {
			answer, err := r.exchange(ctx, question, server)
			if err == nil {
				return answer, nil
			}
			failures = append(failures, err)
			if ctx.Err() != nil {
				return nil, domains.ErrNoAnswer.WithCause(errors.Join(failures...))
			}
		}
	}
	return nil, domains.ErrNoAnswer.WithCause(errors.Join(failures...))
}

func (r *Resolver) exchange(ctx context.Context, question *dns.Msg, server string) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	doing := fmt.Sprintf("ask %s for %s %s", server, dns.TypeToString[question.Question[0].Qtype], question.Question[0].Name)
	answer, err := roundTrip(ctx, "udp", question, server)
	if err == nil && answer.Truncated {
		answer, err = roundTrip(ctx, "tcp", question, server)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", doing, err)
	case answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError:
		return nil, fmt.Errorf("%s: %s", doing, dns.RcodeToString[answer.Rcode])
	case !sameQuestion(question, answer):
		return nil, fmt.Errorf("%s: an answer to something else", doing)
	}
	return answer, nil
}

// roundTrip asks once. Each question has an id of its own and comes from a port of its own, so that nobody can answer in the server's place
// without seeing it.
func roundTrip(ctx context.Context, network string, question *dns.Msg, server string) (*dns.Msg, error) {
	client := &dns.Client{Net: network, Timeout: queryTimeout}
	copied := question.Copy()
	copied.Id = dns.Id()
	answer, _, err := client.ExchangeContext(ctx, copied, server)
	return answer, err
}

// sameQuestion reports whether a server answers what it was asked.
func sameQuestion(a, b *dns.Msg) bool {
	return len(a.Question) == 1 && len(b.Question) == 1 && a.Question[0].Qtype == b.Question[0].Qtype &&
		dns.CanonicalName(a.Question[0].Name) == dns.CanonicalName(b.Question[0].Name)
}
