package invoicing

import (
	"strconv"
	"strings"
)

// symbol is how a currency is written before an amount.
func symbol(currency string) string {
	switch currency {
	case "NGN":
		return "₦"
	case "GHS":
		return "GH₵"
	case "USD":
		return "$"
	case "ZAR":
		return "R"
	case "KES":
		return "KSh "
	}
	return currency + " "
}

// amount writes kobo for people: "₦1,234,567.89".
func amount(currency string, kobo int64) string {
	sign := ""
	if kobo < 0 {
		sign, kobo = "-", -kobo
	}
	major := strconv.FormatInt(kobo/100, 10)
	var grouped strings.Builder
	for i, digit := range major {
		if i > 0 && (len(major)-i)%3 == 0 {
			grouped.WriteByte(',')
		}
		grouped.WriteRune(digit)
	}
	minor := strconv.FormatInt(100+kobo%100, 10)[1:]
	return sign + symbol(currency) + grouped.String() + "." + minor
}

// percent writes basis points: "7.5%".
func percent(basisPoints int64) string {
	return strconv.FormatFloat(float64(basisPoints)/100, 'f', -1, 64) + "%"
}
