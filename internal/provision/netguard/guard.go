package netguard

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/google/nftables"
)

const (
	checkEvery = 3 * time.Second
	retryAfter = time.Second
)

// Command is `controlplane netguard`: it applies the rules, says "rules applied", and looks after them until ctx ends, leaving them in
// force. With --remove it takes them out and returns. It writes its log to out.
func Command(ctx context.Context, args []string, out io.Writer) error {
	rules, remove, err := parse(args, out)
	if err != nil {
		return err
	}
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	k := kernel{conn}
	if remove {
		return k.remove(rules.table())
	}
	log := slog.New(slog.NewTextHandler(out, nil))
	guard(ctx, k, rules, log)
	return nil
}

func parse(args []string, out io.Writer) (rules Rules, remove bool, err error) {
	set := flag.NewFlagSet("netguard", flag.ContinueOnError)
	set.SetOutput(out)
	set.StringVar(&rules.Installation, "installation", "", "id of the installation; names the table")
	set.StringVar(&rules.BridgePrefix, "bridge-prefix", "", "start of the names of tenants' bridges")
	set.TextVar(&rules.Supernet, "supernet", netip.Prefix{}, "network that holds all tenants' networks")
	set.TextVar(&rules.DatabaseHost, "database-host", netip.Addr{}, "address of the tenants' PostgreSQL; none: this host")
	set.TextVar(&rules.Quarantine.Mask, "quarantine-mask", netip.Addr{}, "bits of a tenant's address that say whether it is in quarantine")
	set.TextVar(&rules.Quarantine.Value, "quarantine-host", netip.Addr{}, "what they are then; none: nobody is")
	port := set.Uint("database-port", 0, "port of the tenants' PostgreSQL")
	set.BoolVar(&remove, "remove", false, "take the rules out and end")
	if err := set.Parse(args); err != nil {
		return rules, remove, err
	}
	if *port > 65535 || set.NArg() > 0 {
		return rules, remove, fmt.Errorf("port %d or arguments %q don't make sense", *port, set.Args())
	}
	rules.DatabasePort = uint16(*port)
	if remove && rules.Installation != "" {
		return rules, remove, nil
	}
	return rules, remove, rules.validate()
}

// guard checks the kernel's table every few seconds, and puts it right where it is missing or differs. It says "rules applied" when it
// has, and once at its start where they were in force already: somebody waits for that line.
func guard(ctx context.Context, k kernel, rules Rules, log *slog.Logger) {
	first := true
	for {
		wait := checkEvery
		changed, err := restore(k, rules)
		switch {
		case err != nil:
			log.Error("the rules can't be applied", "error", err)
			wait = retryAfter
		case changed || first:
			log.Info("rules applied", "table", rules.table())
			first = false
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// restore reports whether the rules had to be applied.
func restore(k kernel, rules Rules) (changed bool, err error) {
	onHost, err := rules.databaseOnHost()
	if err != nil {
		return false, err
	}
	chains := rules.chains(onHost)
	ok, err := k.holds(rules.table(), chains)
	if err != nil || ok {
		return false, err
	}
	return true, k.apply(rules.table(), chains)
}

// databaseOnHost reports whether the database is reached through the input hook: no host given, or one of this host's addresses.
func (r Rules) databaseOnHost() (bool, error) {
	if !r.DatabaseHost.IsValid() || r.DatabaseHost.IsLoopback() || r.DatabaseHost.IsUnspecified() {
		return true, nil
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return false, fmt.Errorf("list this host's addresses: %w", err)
	}
	for _, a := range own {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Unmap() == r.DatabaseHost {
			return true, nil
		}
	}
	return false, nil
}
