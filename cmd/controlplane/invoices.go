package main

import (
	"fmt"
	"os"
	"time"
	_ "time/tzdata" // the seller's time zone, also where the system has none

	"controlplane/internal/invoicing"
)

const maxLogoBytes = 1 << 20

// wireInvoices sets up invoices as the configured seller's.
func (p *platform) wireInvoices() error {
	seller := p.cfg.Seller
	location, err := time.LoadLocation(seller.Timezone)
	if err != nil {
		return fmt.Errorf("SELLER_TIMEZONE: %w", err)
	}
	logo, err := readLogo(seller.Logo)
	if err != nil {
		return fmt.Errorf("SELLER_LOGO: %w", err)
	}
	p.invoices = invoicing.New(invoicing.Deps{Pool: p.pool, Audit: p.audit}, invoicing.Options{
		Seller: invoicing.Party{
			Name: p.cfg.SellerName(), Address: seller.AddressLines(), Country: seller.Country, TaxID: seller.TaxID, Email: seller.Email,
		},
		PricesExcludeTax: seller.PricesExcludeTax, Location: location, Logo: logo,
	})
	return nil
}

func readLogo(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxLogoBytes {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxLogoBytes)
	}
	return os.ReadFile(path) //nolint:gosec // the operator names the file
}
