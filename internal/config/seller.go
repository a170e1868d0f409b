package config

import (
	"cmp"
	"strings"
)

// Seller is who invoices are from, and how taxes are in prices.
type Seller struct {
	Name             string `env:"SELLER_NAME" validate:"max=200"`    // default: APP_NAME
	Address          string `env:"SELLER_ADDRESS" validate:"max=500"` // lines, with \n between them
	Country          string `env:"SELLER_COUNTRY" envDefault:"NG" validate:"iso3166_1_alpha2"`
	TaxID            string `env:"SELLER_TAX_ID" validate:"max=50"`
	Email            string `env:"SELLER_EMAIL" validate:"omitempty,email"`
	Logo             string `env:"SELLER_LOGO"` // a PNG or JPEG file
	Timezone         string `env:"SELLER_TIMEZONE" envDefault:"Africa/Lagos" validate:"timezone"`
	PricesExcludeTax bool   `env:"PRICES_EXCLUDE_TAX" envDefault:"false"`
}

// SellerName returns whom invoices are from.
func (c Config) SellerName() string { return cmp.Or(c.Seller.Name, c.AppName) }

// AddressLines returns the address as it is printed.
func (s Seller) AddressLines() string { return strings.ReplaceAll(s.Address, `\n`, "\n") }

// unsafe lists what a tax office wants to see on an invoice for real money.
func (s Seller) unsafe() []string {
	var problems []string
	for _, v := range []struct{ name, value string }{{"SELLER_NAME", s.Name}, {"SELLER_ADDRESS", s.Address}, {"SELLER_TAX_ID", s.TaxID}} {
		if v.value == "" || isSample(v.value) {
			problems = append(problems, v.name+" must be set: it is printed on invoices")
		}
	}
	return problems
}
