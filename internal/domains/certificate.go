package domains

import (
	"context"
	"fmt"

	"controlplane/internal/certs"
)

// Certificates returns how those of some domains stand.
func (s *Service) Certificates(ctx context.Context, list ...Domain) (map[string]certs.Record, error) {
	found := map[string]certs.Record{}
	if len(list) == 0 {
		return found, nil
	}
	hosts := make([]string, 0, len(list))
	for _, d := range list {
		hosts = append(hosts, d.Name)
	}
	records, err := certs.Records(ctx, s.deps.Pool, hosts...)
	for _, r := range records {
		found[r.Host] = r
	}
	if s.opts.NoCA {
		for _, host := range hosts {
			r := found[host]
			r.Host, r.Cause = host, certs.NoCA
			found[host] = r
		}
	}
	return found, err
}

// Trouble says in a sentence for the domain's owner why it has no certificate, or why that can't be renewed; "": nothing is wrong. What the
// CA said itself stays with the operators: it may name what isn't the owner's business.
func (s *Service) Trouble(r certs.Record) string {
	switch r.Cause {
	case "":
		if r.Failures == 0 {
			return ""
		}
	case certs.NoName:
		return "The certificate authority doesn't find this domain in the DNS. Please check that its name servers give the records that are listed here to everybody."
	case certs.Unreachable:
		return "The certificate authority can't reach this domain. Please check that it leads to the addresses that are listed here, and that nothing stands in between."
	case certs.Elsewhere:
		return "The certificate authority asked at this domain, and somebody else answered. Please check that it leads to the addresses that are listed here alone, without a proxy in between."
	case certs.Forbidden:
		return "A CAA record in the DNS of this domain, or of one above it, doesn't allow our certificate authority to issue. Please remove it, or add one that allows " + s.opts.authority() + "."
	case certs.Refused:
		return "The certificate authority doesn't issue certificates for this domain."
	case certs.TooMany:
		return fmt.Sprintf("The certificate authority was asked for too many certificates lately. It is asked again at %s.", r.RetryAt.UTC().Format("2006-01-02 15:04 MST"))
	case certs.Silent:
		return "The certificate authority doesn't answer at the moment, or not in time. It is asked again soon."
	case certs.NoCA:
		return "This platform has no certificate authority for clients' own domains."
	case certs.Other:
	}
	return "The certificate couldn't be had, for a reason that isn't this domain's. It is tried again, and the platform's operators can see why."
}

// authority names whom a CAA record has to allow.
func (o Options) authority() string {
	if o.Authority == "" {
		return "it"
	}
	return o.Authority
}
