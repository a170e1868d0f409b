package acme

import (
	"context"
	"errors"
	"net"
	"strings"

	"github.com/mholt/acmez/v3/acme"

	"controlplane/internal/certs"
)

// errUnfit is that no CA of the kind that is asked issues for a name.
var errUnfit = errors.New("no certificate is issued for this name")

// causeOf sorts what went wrong by who can mend it.
func causeOf(host string, err error) certs.Cause {
	var problem acme.Problem
	if errors.As(err, &problem) {
		return causeOfProblem(problem)
	}
	var network net.Error
	switch {
	case errors.Is(err, errUnfit):
		return certs.Refused
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network), strings.Contains(err.Error(), "HTTP 5"): // no more is left of a CA's 5xx
		return certs.Silent
	case strings.HasPrefix(host, "*."): // our own DNS, most likely
		return certs.Other
	}
	return certs.Silent
}

// causeOfProblem goes by the first of several: they mostly are the same for each name.
func causeOfProblem(p acme.Problem) certs.Cause {
	if len(p.Subproblems) > 0 && (p.Type == acme.ProblemTypeCompound || p.Type == acme.ProblemTypeMalformed) {
		return causeOfProblem(p.Subproblems[0].Problem)
	}
	switch p.Type {
	case acme.ProblemTypeDNS:
		return certs.NoName
	case acme.ProblemTypeConnection:
		return certs.Unreachable
	case acme.ProblemTypeUnauthorized:
		if _, ofChallenge := p.Resource.(acme.Authorization); !ofChallenge {
			return certs.Other // it is our account that may not ask
		}
		return certs.Elsewhere
	case acme.ProblemTypeIncorrectResponse, acme.ProblemTypeTLS:
		return certs.Elsewhere
	case acme.ProblemTypeCAA:
		return certs.Forbidden
	case acme.ProblemTypeRejectedIdentifier, acme.ProblemTypeUnsupportedIdentifier:
		return certs.Refused
	case acme.ProblemTypeRateLimited:
		return certs.TooMany
	case acme.ProblemTypeServerInternal:
		return certs.Silent
	}
	if p.Status >= 500 {
		return certs.Silent
	}
	return certs.Other
}
