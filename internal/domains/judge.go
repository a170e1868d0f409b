package domains

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// verdict is what a look at the DNS comes to.
type verdict struct {
	code    string // "": all is as it should be
	reason  string // for the owner
	unknown bool   // nothing can be said, so nothing changes
	proofs  []string
}

// The codes of what may be wrong.
const (
	codeUnavailable  = "dns_unavailable"
	codeAliases      = "dns_alias_loop"
	codePlatform     = "platform_addresses_unknown"
	codeProofMissing = "proof_missing"
	codeProofWrong   = "proof_wrong"
	codeNoAddress    = "no_address"
	codeElsewhere    = "points_elsewhere"
	codeHeld         = "held_by_another"
)

// judge compares what the DNS says with what it should. The proof comes first: without it nothing else is the claimant's business.
func judge(d Domain, f found, ours []netip.Addr) verdict {
	v := verdict{proofs: f.proofs}
	switch {
	case errors.Is(f.err, ErrAliases):
		v.code, v.reason = codeAliases, ErrAliases.Message+"."
	case f.err != nil:
		v.code, v.unknown = codeUnavailable, true
		v.reason = "The name servers of this domain didn't answer; we try again."
	case !slices.Contains(f.proofs, d.proofValue()):
		v.code, v.reason = codeProofMissing, fmt.Sprintf("There is no TXT record %s with the value %s.", d.proofName(), d.proofValue())
		if slices.ContainsFunc(f.proofs, func(p string) bool { return strings.HasPrefix(p, proofPrefix) }) {
			v.code = codeProofWrong
			v.reason = fmt.Sprintf("The TXT record %s has another value than %s.", d.proofName(), d.proofValue())
		}
	case len(f.addresses) == 0:
		v.code, v.reason = codeNoAddress, d.Name+" leads nowhere: it has neither an A nor an AAAA record."
	case len(ours) == 0:
		v.code, v.unknown = codePlatform, true
		v.reason = "We can't tell our own addresses at the moment; we try again."
	default:
		if others := foreign(f.addresses, ours); len(others) > 0 {
			v.code = codeElsewhere
			v.reason = fmt.Sprintf("%s leads to %s, which isn't ours; it must lead to %s alone.", d.Name, listed(others), listed(ours))
		}
	}
	return v
}

// foreign returns the addresses that aren't ours. One is too many: some visitors, and the certificate's issuer, would end up there.
func foreign(addresses, ours []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addresses), func(a netip.Addr) bool { return slices.Contains(ours, a.Unmap()) })
}

// listed names a few addresses.
func listed(addresses []netip.Addr) string {
	const few = 4
	var names []string
	for _, a := range addresses[:min(len(addresses), few)] {
		names = append(names, a.String())
	}
	if len(addresses) > few {
		names = append(names, "others")
	}
	return strings.Join(names, ", ")
}
