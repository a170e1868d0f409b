package main

import (
	"fmt"
	"os"
	"time"
	_ "time/tzdata" // the seller's time zone, also where the system has none

	"controlplane/internal/config"
	"controlplane/internal/invoicing"
)

const maxLogoBytes = 1 << 20

// newInvoices are the configured seller's.
func newInvoices(cfg config.Config, d *domain) (*invoicing.Service, error) {
	seller := cfg.Seller
	location, err := time.LoadLocation(seller.Timezone)
	if err != nil {
		return nil, fmt.Errorf("SELLER_TIMEZONE: %w", err)
	}
	logo, err := readLogo(seller.Logo)
	if err != nil {
		return nil, fmt.Errorf("SELLER_LOGO: %w", err)
	}
	return invoicing.New(invoicing.Deps{Pool: d.pool, Audit: d.audit}, invoicing.Options{
		Seller: invoicing.Party{
			Name: cfg.SellerName(), Address: seller.AddressLines(), Country: seller.Country, TaxID: seller.TaxID, Email: seller.Email,
		},
		PricesExcludeTax: seller.PricesExcludeTax, Location: location, Logo: logo,
	}), nil
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
