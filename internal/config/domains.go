package config

import (
	"net/netip"
	"net/url"
)

// Domains is how clients' own domains are checked.
type Domains struct {
	EdgeAddresses []netip.Addr `env:"EDGE_ADDRESSES"`   // at which the world reaches the edges; default: what the platform's addresses lead to
	Resolvers     []string     `env:"DOMAIN_RESOLVERS"` // name servers that are asked; default: the system's
}

// OwnHosts returns the platform's own hosts, wherever they are, so that no client can have one.
func (c Config) OwnHosts() []string {
	var hosts []string
	for _, raw := range []string{c.API.PublicURL, c.FrontendURL, c.Edge.PublicURL} {
		if u, err := url.Parse(raw); err == nil && u.Hostname() != "" {
			hosts = append(hosts, u.Hostname())
		}
	}
	return hosts
}
