package provision

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/errs"
	"controlplane/internal/tenants"
)

const (
	subnetBits     = 28
	subnetSize     = 1 << (32 - subnetBits)
	builderSubnets = 4              // the first ones, for networks of our own
	subnetRest     = 24 * time.Hour // a freed subnet may still be in somebody's cache, log or firewall
	subnetLock     = 0x6f646f6f6e65 // the advisory lock that allocations queue on; any constant of our own will do
)

// ErrNoSubnet is returned when TENANT_SUPERNET is used up.
var ErrNoSubnet = errs.New(errs.Unavailable, "no_subnet_left", "We are out of room for new clients; our staff have been told.")

// subnets cuts the supernet into /28s. In each the first host is the gateway and the second the tenant's container.
type subnets struct {
	supernet netip.Prefix
	count    int
}

func newSubnets(supernet netip.Prefix) (subnets, error) {
	if !supernet.IsValid() || !supernet.Addr().Is4() || supernet.Bits() < 8 || supernet.Bits() > 24 {
		return subnets{}, errors.New("TENANT_SUPERNET must be an IPv4 network between /8 and /24")
	}
	return subnets{supernet: supernet.Masked(), count: 1 << (subnetBits - supernet.Bits())}, nil
}

func (s subnets) at(n int) netip.Prefix {
	base := s.supernet.Addr().As4()
	var out [4]byte
	binary.BigEndian.PutUint32(out[:], binary.BigEndian.Uint32(base[:])+uint32(n*subnetSize)) //nolint:gosec // n is below count
	return netip.PrefixFrom(netip.AddrFrom4(out), subnetBits)
}

func gatewayOf(subnet netip.Prefix) netip.Addr   { return subnet.Addr().Next() }
func containerOf(subnet netip.Prefix) netip.Addr { return subnet.Addr().Next().Next() }

// The last host of each subnet is in quarantine: the firewall knows it by the bits that say which host of its subnet an address is.
func hostMask() netip.Addr       { return netip.AddrFrom4([4]byte{0, 0, 0, subnetSize - 1}) }
func quarantineHost() netip.Addr { return netip.AddrFrom4([4]byte{0, 0, 0, subnetSize - 2}) }

// addressOf is where the tenant's container is to be.
func addressOf(t tenants.Tenant, subnet netip.Prefix) netip.Addr {
	if t.QuarantinedAt == nil {
		return containerOf(subnet)
	}
	return quarantined(subnet)
}

// nowhere is what containers in quarantine ask for names: themselves.
func nowhere() []netip.Addr { return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})} }

// quarantined is the address in a subnet from which only the database answers.
func quarantined(subnet netip.Prefix) netip.Addr {
	last := subnet.Addr().As4()
	last[3] |= subnetSize - 2
	return netip.AddrFrom4(last)
}

// allocate gives the tenant the subnet that it has already, or the first one that is free and rested. Allocations queue until tx ends.
func (s subnets) allocate(ctx context.Context, tx pgx.Tx, id tenants.ID) (netip.Prefix, error) {
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", subnetLock); err != nil {
		return netip.Prefix{}, fmt.Errorf("wait to allocate a subnet: %w", err)
	}
	subnet, err := subnetOf(ctx, tx, id)
	if err != nil || subnet.IsValid() {
		return subnet, err
	}
	known, err := tenants.KnownToEdges(ctx, tx) // an edge that is cut off would take another tenant for the one before
	if err != nil {
		return subnet, err
	}
	err = tx.QueryRow(ctx, `
		INSERT INTO tenant_subnets (subnet, tenant_id)
		SELECT c.subnet, $1 FROM (
			SELECT n, set_masklen($2::inet + n::bigint * $3, $4)::cidr AS subnet FROM generate_series($5::int, $6::int - 1) n
		) c LEFT JOIN tenant_subnets used ON used.subnet = c.subnet
		WHERE used.subnet IS NULL OR (used.tenant_id IS NULL AND used.released_at < least(now() - make_interval(secs => $7), $8))
		ORDER BY c.n LIMIT 1
		ON CONFLICT (subnet) DO UPDATE SET tenant_id = excluded.tenant_id, released_at = NULL
		RETURNING subnet`,
		id, s.supernet.Addr(), subnetSize, subnetBits, builderSubnets, s.count, subnetRest.Seconds(), known).Scan(&subnet)
	if errors.Is(err, pgx.ErrNoRows) {
		return subnet, ErrNoSubnet.WithCause(fmt.Errorf("all %d subnets of TENANT_SUPERNET %s are in use or resting", s.count-builderSubnets, s.supernet))
	}
	if err != nil {
		return subnet, fmt.Errorf("allocate a subnet: %w", err)
	}
	return subnet, nil
}

// releaseSubnet lets the tenant's subnet rest; having none is success.
func releaseSubnet(ctx context.Context, tx pgx.Tx, id tenants.ID) error {
	_, err := tx.Exec(ctx, "UPDATE tenant_subnets SET tenant_id = NULL, released_at = now() WHERE tenant_id = $1", id)
	if err != nil {
		return fmt.Errorf("release the subnet of tenant %s: %w", id, err)
	}
	return nil
}

// querier is what one query needs: a pool or a transaction.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// subnetOf returns the tenant's subnet, or an invalid one if it has none.
func subnetOf(ctx context.Context, q querier, id tenants.ID) (netip.Prefix, error) {
	var subnet netip.Prefix
	err := q.QueryRow(ctx, "SELECT subnet FROM tenant_subnets WHERE tenant_id = $1", id).Scan(&subnet)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return subnet, fmt.Errorf("look up the subnet of tenant %s: %w", id, err)
	}
	return subnet, nil
}
