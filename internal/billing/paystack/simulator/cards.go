package simulator

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// step is what the checkout page asks for after the card.
type step string

const (
	askPIN   step = "pin"
	askPhone step = "phone"
	askOTP   step = "otp"
	askBank  step = "bank" // the bank's own page: approve or refuse
)

// card is one of Paystack's documented test cards.
type card struct {
	Number   string
	CVV      string
	Brand    string
	Title    string // what it does, for the page
	Steps    []step
	PIN      string
	OTP      string
	Reusable bool
	Declined string // the bank's answer after all steps; "" pays
	Fatal    bool   // the decline ends the transaction
}

// challenge is a step that the customer hasn't done yet.
type challenge struct {
	Card     string `json:"card"`
	Index    int    `json:"index"`
	AuthCode string `json:"auth_code,omitempty"` // the bank holds up a charge of this saved card
}

func (ch challenge) asks(c card) step {
	if ch.AuthCode != "" {
		return askBank
	}
	asked, _ := c.at(ch.Index)
	return asked
}

func (c card) at(index int) (step, bool) {
	if index >= len(c.Steps) {
		return "", false
	}
	return c.Steps[index], true
}

// Grouped is the number as printed on a card.
func (c card) Grouped() string {
	var groups []string
	rest := c.Number
	for len(rest) > 4 {
		groups, rest = append(groups, rest[:4]), rest[4:]
	}
	return strings.Join(append(groups, rest), " ")
}

func cards() []card {
	return []card{
		{Number: "4084084084084081", CVV: "408", Brand: "visa", Title: "Pays at once", Reusable: true},
		{Number: "507850785078507812", CVV: "081", Brand: "verve", Title: "Pays after a PIN", Steps: []step{askPIN}, PIN: "1111"},
		{
			Number: "5060666666666666666", CVV: "123", Brand: "verve", Title: "Pays after a PIN and a one-time password",
			Steps: []step{askPIN, askOTP}, PIN: "1234", OTP: "123456",
		},
		{
			Number: "507850785078507804", CVV: "884", Brand: "verve", Title: "Pays after a PIN, a phone number and a one-time password",
			Steps: []step{askPIN, askPhone, askOTP}, PIN: "0000", OTP: "123456",
		},
		{Number: "5192602720584796", CVV: "123", Brand: "mastercard", Title: "Pays after approval on the bank's page", Steps: []step{askBank}, Reusable: true},
		{Number: "4084080000670037", CVV: "787", Brand: "visa", Title: "Declined: insufficient funds", Declined: "Insufficient Funds"},
		{Number: "4084080000005408", CVV: "001", Brand: "visa", Title: "Declined by the bank", Declined: "Declined"},
		{
			Number: "507850785078507853", CVV: "082", Brand: "verve", Title: "Fails after the PIN: no token",
			Steps: []step{askPIN}, PIN: "0000", Declined: "Token Not Generated. Customer Not Enrolled on Token Platform", Fatal: true,
		},
		{Number: "4084080000671803", CVV: "180", Brand: "visa", Title: "Pays; its refund will fail"},
		{Number: "4084080000671902", CVV: "190", Brand: "visa", Title: "Pays; its refund will need attention"},
	}
}

// findCard accepts numbers with blanks; "" is the first card.
func findCard(number string) (card, bool) {
	number = strings.ReplaceAll(number, " ", "")
	for _, c := range cards() {
		if number == "" || c.Number == number {
			return c, true
		}
	}
	return card{}, false
}

// cardSignature is the same for a card wherever it is used.
func cardSignature(number string) string {
	sum := sha256.Sum256([]byte("card " + number))
	return hex.EncodeToString(sum[:])[:20]
}
