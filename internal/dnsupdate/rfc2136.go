// Package dnsupdate puts records into DNS zones and takes them out again, as ACME's DNS-01 challenge wants it: by dynamic updates
// (RFC 2136) that are signed with a shared key, or by a command of the operator's for DNS that is hosted elsewhere. Both are providers as
// libdns defines them.
package dnsupdate

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"

	"controlplane/internal/secrets"
)

const (
	updateTimeout = 10 * time.Second
	updateTries   = 3
	clockSkew     = 300 // seconds that a signature is good for, RFC 8945's value
	defaultTTL    = time.Minute
)

// Algorithms returns the names of the algorithms by which updates can be signed.
func Algorithms() []string {
	return []string{"hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"}
}

// RFC2136 changes zones of a name server that takes dynamic updates.
type RFC2136 struct {
	server    string
	key       string
	algorithm string
	secret    secrets.Secret
}

// Options name the server and the key that it has for us.
type Options struct {
	Server    string // host:port; port 53 if there is none
	Key       string // the key's name
	Algorithm string // default hmac-sha256
	Secret    secrets.Secret
}

// NewRFC2136 returns a provider. Unsigned updates aren't offered: a server that takes them takes anybody's.
func NewRFC2136(opts Options) (*RFC2136, error) {
	algorithm := strings.ToLower(opts.Algorithm)
	if algorithm == "" {
		algorithm = "hmac-sha256"
	}
	if !slices.Contains(Algorithms(), algorithm) {
		return nil, fmt.Errorf("%q is no algorithm to sign with: there are %s", opts.Algorithm, strings.Join(Algorithms(), ", "))
	}
	if _, err := base64.StdEncoding.DecodeString(opts.Secret.Reveal()); err != nil || opts.Secret == "" {
		return nil, errors.New("the key's secret isn't base64") // the decoder's error shows a part of it
	}
	if opts.Key == "" || opts.Server == "" {
		return nil, errors.New("dynamic updates need a server and a key's name")
	}
	server := opts.Server
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(strings.Trim(server, "[]"), "53")
	}
	return &RFC2136{server: server, key: dns.Fqdn(strings.ToLower(opts.Key)), algorithm: dns.Fqdn(algorithm), secret: opts.Secret}, nil
}

// AppendRecords adds records to a zone.
func (p *RFC2136) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return p.update(ctx, zone, records, (*dns.Msg).Insert)
}

// DeleteRecords takes records out of a zone. Absence is success.
func (p *RFC2136) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return p.update(ctx, zone, records, (*dns.Msg).Remove)
}

// update sends one message, again when there is no answer: a record that is there twice is there once, and the same for one that is gone.
func (p *RFC2136) update(ctx context.Context, zone string, records []libdns.Record, how func(*dns.Msg, []dns.RR)) ([]libdns.Record, error) {
	rrs := make([]dns.RR, 0, len(records))
	for _, r := range records {
		rr, err := resourceRecord(zone, r.RR())
		if err != nil {
			return nil, err
		}
		rrs = append(rrs, rr)
	}
	var err error
	for range updateTries {
		msg := new(dns.Msg).SetUpdate(dns.Fqdn(zone))
		how(msg, rrs)
		msg.SetTsig(p.key, p.algorithm, clockSkew, time.Now().Unix())
		var refused *RefusedError
		if err = p.send(ctx, msg); err == nil || errors.As(err, &refused) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("update the zone %s at %s: %w", zone, p.server, err)
	}
	return records, nil
}

// send uses TCP: an update over UDP can be answered by whoever guesses its number.
func (p *RFC2136) send(ctx context.Context, msg *dns.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	client := dns.Client{Net: "tcp", Timeout: updateTimeout, TsigSecret: map[string]string{p.key: p.secret.Reveal()}}
	answer, _, err := client.ExchangeContext(ctx, msg, p.server)
	if answer != nil && answer.Rcode != dns.RcodeSuccess {
		return &RefusedError{Code: refusal(answer)}
	}
	return err
}

// refusal names what the server answered; of a signature that it doesn't accept, what is wrong with it.
func refusal(answer *dns.Msg) string {
	if tsig := answer.IsTsig(); tsig != nil && tsig.Error != dns.RcodeSuccess {
		return dns.RcodeToString[int(tsig.Error)]
	}
	return dns.RcodeToString[answer.Rcode]
}

// RefusedError is a server's refusal; to send the same again is of no use.
type RefusedError struct{ Code string }

// Error says what DNS calls it, and what that mostly means.
func (e *RefusedError) Error() string {
	hint := map[string]string{
		"REFUSED": "the key may not change this name", "NOTAUTH": "the server doesn't know the zone or the key",
		"BADSIG": "the key's secret is another", "BADKEY": "the server doesn't know the key", "BADTIME": "the clocks differ",
		"NOTZONE": "the name isn't in the zone",
	}[e.Code]
	if hint == "" {
		return "the name server answered " + e.Code
	}
	return "the name server answered " + e.Code + ": " + hint
}

// resourceRecord makes a libdns record one on the wire.
func resourceRecord(zone string, r libdns.RR) (dns.RR, error) {
	ttl := r.TTL
	if ttl < time.Second {
		ttl = defaultTTL
	}
	header := dns.RR_Header{Name: dns.Fqdn(libdns.AbsoluteName(r.Name, dns.Fqdn(zone))), Class: dns.ClassINET, Ttl: uint32(ttl / time.Second)} //nolint:gosec // seconds of a TTL
	if r.Type == "TXT" {
		if len(r.Data) > 255 {
			return nil, fmt.Errorf("the text of %s is longer than a string of DNS", header.Name)
		}
		header.Rrtype = dns.TypeTXT
		return &dns.TXT{Hdr: header, Txt: []string{r.Data}}, nil
	}
	rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s %s", header.Name, header.Ttl, r.Type, r.Data))
	if err != nil {
		return nil, fmt.Errorf("write the record %s: %w", header.Name, err)
	}
	return rr, nil
}
