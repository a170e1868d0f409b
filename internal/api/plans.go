package api

import (
	"net/http"
	"strconv"

	"controlplane/internal/tenants"
)

type planAnswer struct {
	ID                    string   `json:"id"`
	Name                  string   `json:"name"`
	Currency              string   `json:"currency"`
	PriceMonthly          float64  `json:"price_monthly"`
	PriceMonthlyKobo      int64    `json:"price_monthly_kobo"`
	PriceAnnual           float64  `json:"price_annual"`
	PriceAnnualKobo       int64    `json:"price_annual_kobo"`
	AnnualDiscountPercent int      `json:"annual_discount_percent"`
	MemoryLimit           string   `json:"memory_limit"`
	DBMemoryLimit         string   `json:"db_memory_limit"`
	CPULimit              float64  `json:"cpu_limit"`
	DBCPULimit            float64  `json:"db_cpu_limit"`
	StorageGB             int      `json:"storage_gb"`
	BackupFrequency       string   `json:"backup_frequency"`
	Apps                  []string `json:"apps"`
}

func newPlanAnswer(p tenants.Plan) planAnswer {
	return planAnswer{
		ID: p.ID, Name: p.Name, Currency: p.Currency,
		PriceMonthly: major(p.PriceMonthlyKobo), PriceMonthlyKobo: p.PriceMonthlyKobo,
		PriceAnnual: major(p.AnnualKobo()), PriceAnnualKobo: p.AnnualKobo(), AnnualDiscountPercent: p.AnnualDiscountPercent,
		MemoryLimit: memory(p.MemoryMB), DBMemoryLimit: memory(p.DBMemoryMB), CPULimit: cores(p.CPUMilli), DBCPULimit: cores(p.DBCPUMilli),
		StorageGB: p.StorageGB, BackupFrequency: p.BackupFrequency, Apps: p.Apps,
	}
}

// major turns kobo into naira. It is for showing only; nothing is calculated with it.
func major(kobo int64) float64 { return float64(kobo) / 100 }

func cores(milli int) float64 { return float64(milli) / 1000 }

// memory prints as the earlier API did: "2g", or "1536m" where it isn't a whole number of gibibytes.
func memory(mb int) string {
	if mb%1024 == 0 {
		return strconv.Itoa(mb/1024) + "g"
	}
	return strconv.Itoa(mb) + "m"
}

func (s *server) listPlans(w http.ResponseWriter, r *http.Request) error {
	plans, err := s.deps.Tenants.Plans(r.Context())
	if err != nil {
		return err
	}
	out := make([]planAnswer, 0, len(plans))
	for _, p := range plans {
		out = append(out, newPlanAnswer(p))
	}
	return reply(w, http.StatusOK, out)
}
