package acme

import (
	"context"
	"crypto"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
)

const accountTimeout = 30 * time.Second

// replaceAccount forgets the account if the CA has closed it, so that the next order begins with a new one. cause is what the CA answered
// to an order: "unauthorized" may mean the account as well as the domain, so the CA is asked about the account itself.
func (c *Client) replaceAccount(ctx context.Context, issuer *certmagic.ACMEIssuer, cause error) (bool, error) {
	var problem acme.Problem
	if !errors.As(cause, &problem) || problem.Type != acme.ProblemTypeUnauthorized && problem.Type != acme.ProblemTypeAccountDoesNotExist {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, accountTimeout)
	defer cancel()
	folder := path.Join("acme", certmagic.StorageKeys.Safe(issuer.IssuerKey()), "users", certmagic.StorageKeys.Safe(strings.ToLower(c.opts.Email)))
	account, err := c.account(ctx, folder)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // there was none to close
	}
	if err != nil {
		return false, err
	}
	client := acme.Client{Directory: issuer.CA, HTTPClient: c.httpClient()}
	found, err := client.GetAccount(ctx, account)
	switch {
	case err == nil && found.Status == acme.StatusValid:
		return false, nil
	case err == nil, errors.As(err, &problem) && (problem.Type == acme.ProblemTypeUnauthorized || problem.Type == acme.ProblemTypeAccountDoesNotExist):
		if err := c.storage.Delete(ctx, folder); err != nil {
			return false, fmt.Errorf("forget an account that the CA has closed: %w", err)
		}
		return true, nil
	default:
		return false, fmt.Errorf("ask the CA about our account: %w", err)
	}
}

// account returns the one that is stored.
func (c *Client) account(ctx context.Context, folder string) (acme.Account, error) {
	keys, err := c.storage.List(ctx, folder, true)
	if err != nil {
		return acme.Account{}, fmt.Errorf("look for our account: %w", err)
	}
	var account acme.Account
	var signer crypto.Signer
	for _, key := range keys {
		value, err := c.storage.Load(ctx, key)
		if err != nil {
			return acme.Account{}, fmt.Errorf("load our account: %w", err)
		}
		if strings.HasSuffix(key, ".json") {
			err = json.Unmarshal(value, &account)
		} else {
			signer, err = certmagic.PEMDecodePrivateKey(value)
		}
		if err != nil {
			return acme.Account{}, fmt.Errorf("read our account: %w", err)
		}
	}
	account.PrivateKey = signer
	return account, nil
}

func (c *Client) httpClient() *http.Client {
	return &http.Client{Timeout: accountTimeout, Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{RootCAs: c.opts.Roots, MinVersion: tls.VersionTLS12},
	}}
}
