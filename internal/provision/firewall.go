package provision

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// firewallTrust is how long this process relies on the rules that it saw in force; a container of their own looks after them meanwhile.
const firewallTrust = time.Minute

// firewallGuard remembers when the rules were last seen in force.
type firewallGuard struct {
	mu   sync.Mutex
	seen time.Time
}

// ensureFirewall is done before any tenant starts; most calls cost nothing.
func (s *Service) ensureFirewall(ctx context.Context) error {
	s.firewall.mu.Lock()
	defer s.firewall.mu.Unlock()
	if time.Since(s.firewall.seen) < firewallTrust {
		return nil
	}
	host, err := s.databaseAddress(ctx)
	if err != nil {
		return err
	}
	rules := Firewall{
		Supernet: s.subnets.supernet, DatabaseHost: host, DatabasePort: uint16(s.opts.DatabasePort), //nolint:gosec // checked by config
		QuarantineMask: hostMask(), QuarantineHost: quarantineHost(),
	}
	if err := s.runtime.EnsureFirewall(ctx, rules); err != nil {
		return fmt.Errorf("ensure the firewall: %w", err)
	}
	s.firewall.seen = time.Now()
	return nil
}

// tenantDatabaseHost is where a tenant behind gateway reaches its database: a server on this machine is at the gateway.
func (s *Service) tenantDatabaseHost(gateway netip.Addr) string {
	switch {
	case s.opts.TenantDatabaseHost != "":
		return s.opts.TenantDatabaseHost
	case isLoopback(s.opts.DatabaseHost):
		return gateway.String()
	}
	return s.opts.DatabaseHost
}

// databaseAddress is the same for the firewall: zero for a server on this machine.
func (s *Service) databaseAddress(ctx context.Context) (netip.Addr, error) {
	host := s.opts.TenantDatabaseHost
	if host == "" {
		host = s.opts.DatabaseHost
	}
	if isLoopback(host) {
		return netip.Addr{}, nil
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap(), nil
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil || len(found) == 0 {
		return netip.Addr{}, fmt.Errorf("find the address of the tenants' database server %s: %w", host, err)
	}
	return found[0].Unmap(), nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
