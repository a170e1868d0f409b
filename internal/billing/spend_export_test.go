package billing

// DivideCost is the pure part of paying by credit.
func DivideCost(kobo, credit int64, currency string) (gateway, fromCredit int64) {
	return divideCost(kobo, credit, currency)
}
