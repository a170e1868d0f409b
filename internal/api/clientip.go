package api

import (
	"net/http"
	"net/netip"
	"strings"
)

// clientIP returns who called. X-Forwarded-For counts only as far as trusted proxies vouch for it: it is walked from the right,
// each trusted hop vouching for the entry left of it. The zero Addr means unknown.
func (s *server) clientIP(r *http.Request) netip.Addr {
	ip := peer(r)
	if !s.trusted(ip) {
		return ip
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && s.trusted(ip); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			return ip
		}
		ip = hop.Unmap().WithZone("")
	}
	return ip
}

func peer(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

func (s *server) trusted(ip netip.Addr) bool {
	for _, p := range s.opts.TrustedProxies {
		if ip.IsValid() && p.Contains(ip) {
			return true
		}
	}
	return false
}
