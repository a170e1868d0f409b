package config_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/config"
)

func TestLoad_Seller(t *testing.T) {
	t.Parallel()
	env := production()
	env["SELLER_ADDRESS"], env["PRICES_EXCLUDE_TAX"] = `12 Adeola Odeku Street\nLagos`, "true"
	cfg, err := config.Load(env, all...)
	require.NoError(t, err)
	require.Equal(t, "Hosting Nigeria Ltd", cfg.SellerName())
	require.Equal(t, "12 Adeola Odeku Street\nLagos", cfg.Seller.AddressLines())
	require.Equal(t, []any{"NG", "Africa/Lagos", true}, []any{cfg.Seller.Country, cfg.Seller.Timezone, cfg.Seller.PricesExcludeTax})

	cfg, err = config.Load(map[string]string{"DEBUG": "true", "APP_NAME": "My Platform"})
	require.NoError(t, err)
	require.Equal(t, "My Platform", cfg.SellerName())
}

func TestLoad_SellerProblems(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ value, want string }{
		"SELLER_NAME":        {"", "SELLER_NAME must be set: it is printed on invoices"},
		"SELLER_ADDRESS":     {"", "SELLER_ADDRESS must be set"},
		"SELLER_TAX_ID":      {"xxx", "SELLER_TAX_ID must be set"},
		"SELLER_COUNTRY":     {"Nigeria", "SELLER_COUNTRY is not valid"},
		"SELLER_TIMEZONE":    {"Lagos", "SELLER_TIMEZONE is not valid"},
		"SELLER_EMAIL":       {"nobody", "SELLER_EMAIL is not valid"},
		"PRICES_EXCLUDE_TAX": {"maybe", "PRICES_EXCLUDE_TAX is not a valid true or false"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := production()
			env[name] = tt.value
			_, err := config.Load(env, all...)
			require.ErrorContains(t, err, tt.want)
		})
	}
}
