package main

import (
	"fmt"
	"strings"
	"time"

	"controlplane/internal/acme"
	"controlplane/internal/cleanup"
	"controlplane/internal/config"
	"controlplane/internal/domains"
	"controlplane/internal/domains/resolver"
)

// wireDomains sets up clients' own domains. An API process looks at the DNS too, when somebody asks for it.
func (p *platform) wireDomains() error {
	c := p.cfg
	dns, err := resolver.New(c.Domains.Resolvers)
	if err != nil {
		return fmt.Errorf("DOMAIN_RESOLVERS: %w", err)
	}
	p.domains, err = domains.New(domains.Deps{
		Pool: p.pool, Tenants: p.tenants, Audit: p.audit, Resolver: dns, Log: p.log,
	}, domainOptions(c))
	if err != nil {
		return fmt.Errorf("set up clients' own domains: %w", err)
	}
	return nil
}

func domainOptions(c config.Config) domains.Options {
	return domains.Options{
		BaseDomain: c.BaseDomain, Reserved: c.OwnHosts(), Addresses: c.Domains.EdgeAddresses,
		Certified: c.TLS.Listen != "" && strings.HasPrefix(c.TenantURL(c.BaseDomain), "https://"),
		NoCA:      c.TLS.Listen != "" && !c.TLS.UsesACME(), Authority: authority(c.TLS),
	}
}

// authority returns the CA as CAA records name it, where that is known.
func authority(c config.TLS) string {
	if c.Directory == "" || c.Directory == acme.LetsEncrypt || c.Directory == acme.LetsEncryptStaging {
		return "letsencrypt.org"
	}
	return ""
}

// domainSweeps look at the DNS of clients' domains, and have links follow what couldn't be followed at once.
func (p *platform) domainSweeps() []cleanup.Sweep {
	return []cleanup.Sweep{
		{
			Name: "domains", Description: "Looks at the DNS of clients' own domains: claims often, what is proven once a day", Cron: "* * * * *",
			Jitter: 10 * time.Second, AtStart: true,
			Run: cleanup.Counted(p.domains.CheckDue),
		},
		{
			Name: "domain_links", Description: "Has the links of Odoos follow their primary domains where that was put off", Cron: "* * * * *",
			Jitter: 10 * time.Second,
			Run:    cleanup.Counted(p.tenants.FollowLinks),
		},
	}
}
