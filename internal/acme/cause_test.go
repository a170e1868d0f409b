package acme

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/mholt/acmez/v3/acme"
	"github.com/stretchr/testify/require"

	"controlplane/internal/certs"
)

func TestCauseOf_SortsByWhoCanMendIt(t *testing.T) {
	t.Parallel()
	said := func(kind string) error {
		return fmt.Errorf("[shop.test] solving challenge: %w", acme.Problem{Type: acme.ProblemTypeNamespace + kind, Status: 400, Detail: "the CA's words"})
	}
	for want, list := range map[certs.Cause][]error{
		certs.NoName: {said("dns"), acme.Problem{Type: acme.ProblemTypeCompound, Subproblems: []acme.Subproblem{{Problem: acme.Problem{Type: acme.ProblemTypeDNS}}}}},

		certs.Unreachable: {said("connection")},
		certs.Elsewhere:   {said("incorrectResponse"), said("tls"), acme.Problem{Type: acme.ProblemTypeUnauthorized, Resource: acme.Authorization{}}},
		certs.Forbidden:   {said("caa")},
		certs.Refused:     {said("rejectedIdentifier"), fmt.Errorf("%w: it is none", errUnfit)},
		certs.TooMany:     {said("rateLimited")},
		certs.Silent: {
			said("serverInternal"),
			acme.Problem{Type: "about:blank", Status: 503},
			errors.New("attempt 1: HTTP 503: "),
			fmt.Errorf("order: %w", context.DeadlineExceeded), &net.OpError{Op: "dial", Err: errors.New("refused")},
		},
		certs.Other: {said("externalAccountRequired"), said("accountDoesNotExist"), said("unauthorized")},
	} {
		for _, err := range list {
			require.Equal(t, want, causeOf("shop.test", err), "%v", err)
		}
	}
	require.Equal(t, certs.Other, causeOf("*.example.test", errors.New("the name server refuses the update: BADSIG")))
}
