package edge

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"controlplane/internal/acme"
	"controlplane/internal/certs"
)

// TLS makes an edge serve HTTPS beside HTTP, which then only passes on to it. Listen and Store are required, and the platform's own
// certificate: by ACME's DNS-01, or as files.
type TLS struct {
	Listen     string // TCP, and UDP for HTTP/3
	PublicPort string // that browsers are sent to; "": 443
	Store      *certs.Store
	Folder     *certs.Folder // the copy on disk
	ACME       *acme.Client  // nil: customers' domains get no certificate
	CertFile   string        // PEM, the chain with the leaf first; good for the base domain and all names below it
	KeyFile    string

	// OnHealth is told when a certificate gets into trouble, and when that is over. nil: nobody is.
	OnHealth func(context.Context, acme.Health) error
	Now      func() time.Time // default time.Now
}

const (
	mirrorEvery = 2 * time.Minute
	mirrorRetry = 5 * time.Second
	pruneEvery  = 24 * time.Hour
)

// ErrNotOurs is what CertificateWanted returns for a host of somebody else's.
var ErrNotOurs = errors.New("this host is neither the platform's nor a client's proven domain")

// tlsSide is what an edge with TLS has more.
type tlsSide struct {
	TLS

	base   string
	table  *table
	shelf  *shelf
	files  *certificateFiles // nil: none
	mirror *certs.Mirror
	keeper *acme.Keeper  // nil: no ACME
	news   chan struct{} // one slot: there may be new certificates in the database
	quic   atomic.Bool   // HTTP/3 is served
}

func (e *Edge) newTLS(opts TLS) (*tlsSide, error) {
	if opts.Listen == "" || opts.Store == nil || opts.Folder == nil {
		return nil, errors.New("TLS needs an address to listen on and a place for certificates")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.OnHealth == nil {
		opts.OnHealth = func(context.Context, acme.Health) error { return nil }
	}
	t := &tlsSide{
		TLS: opts, base: e.opts.BaseDomain, table: e.table, shelf: newShelf(), mirror: certs.NewMirror(opts.Store, opts.Folder),
		news: make(chan struct{}, 1),
	}
	var err error
	switch {
	case opts.CertFile != "":
		if t.files, err = openCertificateFiles(opts.CertFile, opts.KeyFile, t.base); err != nil {
			return nil, err
		}
	case opts.ACME == nil || !opts.ACME.IssuesPlatform():
		return nil, errors.New("TLS needs a certificate for the platform's addresses: certificate files, or ACME with a DNS provider")
	}
	if opts.ACME != nil {
		t.keeper = acme.NewKeeper(acme.Deps{
			Store: opts.Store, Issuer: opts.ACME, Wanted: t.wanted, Owner: t.table.ownerOf, Tell: opts.OnHealth, Now: opts.Now, Log: e.log,
		})
	}
	return t, nil
}

// address returns where HTTPS is served; "": nowhere.
func (t *tlsSide) address() string {
	if t == nil {
		return ""
	}
	return t.Listen
}

// CertificateWanted returns nil if host is to be served with a certificate of ours: an address of the platform's, or a domain that a client
// has proven to be its own.
func (e *Edge) CertificateWanted(_ context.Context, host string) error {
	if e.ours(host) {
		return nil
	}
	return ErrNotOurs
}

func (e *Edge) ours(host string) bool {
	return acme.Covers(e.opts.BaseDomain, host) || e.table.ownDomain(host)
}

// wanted is what the keeper has to get. What is known is complete while changes come in.
func (t *tlsSide) wanted() acme.Wanted {
	var w acme.Wanted
	status := t.table.status() // before the routes, so that they aren't called complete by a reading that came after them
	w.Complete = status.Loaded && status.Connected && !status.SyncedAt.IsZero()
	if t.files == nil {
		w.Hosts = append(w.Hosts, acme.Platform(t.base))
	}
	for _, r := range t.table.all() {
		w.Hosts = append(w.Hosts, r.Domains...)
	}
	return w
}

// keepCertificates has them obtained, renewed and copied until ctx ends.
func (e *Edge) keepCertificates(ctx context.Context) {
	if e.tls == nil {
		return
	}
	var group sync.WaitGroup
	defer group.Wait()
	if e.tls.keeper != nil {
		group.Go(func() { e.tls.keeper.Run(ctx) })
	} else {
		e.log.WarnContext(ctx, "there is no CA to ask: clients' own domains get no certificates")
	}
	if e.tls.files != nil {
		group.Go(func() { e.tls.watchFiles(ctx, e.log) })
	}
	var pruned time.Time
	for wait := time.Duration(0); ; wait = mirrorEvery {
		err := e.tls.copy(ctx, &pruned)
		if err != nil && ctx.Err() == nil {
			wait = mirrorRetry
			e.log.WarnContext(ctx, "edge goes on with the certificates it has", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-e.tls.news:
		case <-time.After(max(wait, mirrorRetry)):
		}
	}
}

// copy takes over what is new in the database, and once a day drops what isn't there any more.
func (t *tlsSide) copy(ctx context.Context, pruned *time.Time) error {
	if err := t.mirror.Sync(ctx, t.shelf.drop); err != nil {
		return err
	}
	if time.Since(*pruned) < pruneEvery {
		return nil
	}
	if err := t.mirror.Prune(ctx, t.shelf.drop); err != nil {
		return err
	}
	*pruned = time.Now()
	return nil
}

// certificatesChanged is told by the database.
func (e *Edge) certificatesChanged() {
	if e.tls == nil {
		return
	}
	select {
	case e.tls.news <- struct{}{}:
	default:
	}
}

// domainsChanged has certificates asked for at once where they are missing.
func (e *Edge) domainsChanged() {
	if e.tls != nil && e.tls.keeper != nil {
		e.tls.keeper.Wake()
	}
}
