package domains

import (
	"context"
	"net/netip"

	"controlplane/internal/tenants"
)

// Records returns what belongs into the DNS of a tenant's domain: the proof, and where it leads.
func (s *Service) Records(ctx context.Context, t tenants.Tenant, d Domain) []Record {
	return records(t, d, func() []netip.Addr { return s.ours(ctx, t) })
}

func records(t tenants.Tenant, d Domain, ours func() []netip.Addr) []Record {
	list := []Record{{Type: "TXT", Name: d.proofName(), Value: d.proofValue()}}
	if !apex(d.Name) {
		return append(list, Record{Type: "CNAME", Name: d.Name, Value: t.Domain})
	}
	addresses := ours()
	for _, a := range addresses {
		kind := "A"
		if a.Is6() {
			kind = "AAAA"
		}
		list = append(list, Record{Type: kind, Name: d.Name, Value: a.String()})
	}
	if len(addresses) == 0 {
		list = append(list, Record{Type: "ALIAS", Name: d.Name, Value: t.Domain})
	}
	return list
}
