// Package netguard keeps the host's firewall rules for the tenants' supernet in force: an nftables table of our own, judged before the
// engine's, in which only traffic from and to the supernet is looked at. It runs as `controlplane netguard` in a container of its own
// (internal/provision/docker makes it) and imports nothing of ours, as it has the right to change the host's network.
package netguard

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
)

// Rules are what the host's firewall is made from.
type Rules struct {
	Installation string       // names the table
	BridgePrefix string       // begins the name of each tenants' bridge; empty: tenants are known by address only
	Supernet     netip.Prefix // IPv4, holds all tenants' networks
	DatabaseHost netip.Addr   // zero: on this host
	DatabasePort uint16
	Quarantine   HostPart // who reaches the database and nothing else
}

// HostPart tells some of the tenants by the last bits of their addresses, so that who is in quarantine is no rule's business: it is decided with
// the address that a container is given, and a container that hasn't got it yet doesn't run. The zero value tells nobody.
type HostPart struct {
	Mask  netip.Addr // the bits that matter
	Value netip.Addr // what they are
}

// specialRanges are what tenants must not reach beyond the host: private, shared, link-local, test, multicast and reserved addresses.
func specialRanges() []string {
	return []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
	}
}

// chain is a chain of our table as it should be.
type chain struct {
	name  string
	hook  hook // noHook: only jumped to
	rules []rule
}

type hook int

const (
	noHook hook = iota
	inputHook
	forwardHook
)

// chains is pure: what the table should hold. databaseOnHost says whether DatabaseHost is this host.
//
// A source address can't be forged, as tenants' containers have no NET_RAW; what comes from a tenant's bridge with an address that isn't
// the supernet's is refused all the same. IPv6 from there is always refused: tenants have none. What is refused is answered, so that an
// Odoo worker which calls a private address fails at once and doesn't hang until its time limit.
func (r Rules) chains(databaseOnHost bool) []chain {
	return []chain{
		{name: "blocked", rules: []rule{
			{l4("tcp"), counted, rejectTCP},
			{l4("udp"), counted, rejectUDP},
			{counted, drop},
		}},
		{name: "to_host", rules: r.toHost(databaseOnHost)},
		{name: "outgoing", rules: r.outgoing(databaseOnHost)},
		{name: "from_tenant", rules: []rule{{established, accept}, {saddr(r.Supernet), jump("outgoing")}, {jump("blocked")}}},
		{name: "to_tenant", rules: []rule{{established, accept}, {counted, drop}}},
		{name: "input", hook: inputHook, rules: r.fromTenants("to_host", notLoopback)},
		{name: "forward", hook: forwardHook, rules: append(r.fromTenants("from_tenant"), rule{daddr(r.Supernet), jump("to_tenant")})},
	}
}

// fromTenants sends what comes from a tenant to the chain, known by bridge or by address.
func (r Rules) fromTenants(target string, also ...term) []rule {
	var out []rule
	if r.BridgePrefix != "" {
		out = append(out, rule{fromBridge(r.BridgePrefix), jump(target)})
	}
	return append(out, append(rule(also), saddr(r.Supernet), jump(target)))
}

// toHost is what a tenant may say to the host itself. The gateway addresses of tenants' networks are the host's.
func (r Rules) toHost(databaseOnHost bool) []rule {
	out := []rule{{established, accept}}
	if databaseOnHost {
		out = append(out, rule{saddr(r.Supernet), l4("tcp"), dport(r.DatabasePort), accept})
	}
	return append(out, rule{jump("blocked")})
}

// outgoing is what a tenant may say to anybody else.
func (r Rules) outgoing(databaseOnHost bool) []rule {
	var out []rule
	if !databaseOnHost {
		out = append(out, rule{daddr(netip.PrefixFrom(r.DatabaseHost, 32)), l4("tcp"), dport(r.DatabasePort), accept})
	}
	if r.Quarantine != (HostPart{}) {
		out = append(out, rule{hostPart(r.Quarantine), jump("blocked")})
	}
	out = append(out, rule{daddr(r.Supernet), jump("blocked")})
	for _, special := range specialRanges() {
		out = append(out, rule{daddr(netip.MustParsePrefix(special)), jump("blocked")})
	}
	return append(out, rule{l4("tcp"), dport(25), jump("blocked")}, rule{l4("udp"), dport(25), jump("blocked")}, rule{accept})
}

// table is the name of the installation's own table.
func (r Rules) table() string { return tableName(r.Installation) }

func tableName(installation string) string {
	return "odoohost_" + strings.Map(func(c rune) rune {
		if c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' {
			return c
		}
		return '_'
	}, strings.ToLower(installation))
}

// validate refuses rules that would not mean what they say.
func (r Rules) validate() error {
	switch {
	case r.Installation == "":
		return fmt.Errorf("no installation id")
	case !r.Supernet.IsValid() || !r.Supernet.Addr().Is4() || r.Supernet.Bits() == 0:
		return fmt.Errorf("supernet %v isn't an IPv4 network", r.Supernet)
	case r.DatabaseHost.IsValid() && !r.DatabaseHost.Is4():
		return fmt.Errorf("database host %v isn't an IPv4 address", r.DatabaseHost)
	case r.DatabasePort == 0:
		return fmt.Errorf("no database port")
	case r.Quarantine != HostPart{} && (!r.Quarantine.Mask.Is4() || !r.Quarantine.Value.Is4()):
		return fmt.Errorf("quarantine %v isn't a mask and an IPv4 address", r.Quarantine)
	}
	return nil
}

// render writes the chains as nft would list them, for people, tests and the hash.
func render(chains []chain) string {
	var b strings.Builder
	for _, c := range chains {
		fmt.Fprintf(&b, "chain %s {\n", c.name)
		switch c.hook {
		case inputHook:
			fmt.Fprintf(&b, "\ttype filter hook input priority %d; policy accept;\n", priority)
		case forwardHook:
			fmt.Fprintf(&b, "\ttype filter hook forward priority %d; policy accept;\n", priority)
		case noHook:
		}
		for _, r := range c.rules {
			fmt.Fprintf(&b, "\t%s\n", r)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

func fingerprint(chains []chain) string {
	sum := sha256.Sum256([]byte(render(chains)))
	return hex.EncodeToString(sum[:6])
}
